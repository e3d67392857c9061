"""What stands in the place of a figure that a head does not have."""

from matplotlib.figure import Figure

from mil.figures import MUTED, house_style, new_figure


@house_style()
def no_figure(title: str, reason: str) -> Figure:
    """Return an empty panel with the reason."""
    figure = new_figure(6.4, 1.6)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_title(title)
    axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center", va="center", color=MUTED)
    return figure
