"""Feature folders of other programs, one module a program: list, read and write its files.

Each module has ``list_files(folder, encoder)``, which opens nothing, ``read(files)`` and
``write(folder, name, slide)``.
"""
