"""everything -> report."""


rule write_report:
    """Write the report: one page that holds everything."""
    input:
        rules.compare_experiments.output,
    output:
        "<results>/report.html",
    log:
        "<logs>/write_report.log",
    shell:
        "touch {output}"
