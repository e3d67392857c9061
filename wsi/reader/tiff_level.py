"""Where the storage tiles of one level of a tiled TIFF lie, and how they are decoded."""

from dataclasses import dataclass

import tifffile

from wsi.reader.tile_codecs import Decoder, NotSupportedError, find_decoder

LARGEST_TILE = 2**26  # pixels; a larger one can only come from a damaged header


@dataclass(frozen=True)
class TiffLevel:
    """What is needed to find and decode the tiles of one level; sizes in pixels.

    Parameters
    ----------
    width, height : of the level.
    tile_width, tile_height : of a storage tile; the last of a row or column are whole tiles too.
    columns, rows : number of tiles.
    offsets, counts : place and bytes of each tile in the file, row by row.
    decoder : makes pixels of the bytes.
    """

    width: int
    height: int
    tile_width: int
    tile_height: int
    columns: int
    rows: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    decoder: Decoder

    @classmethod
    def of(cls, page: tifffile.TiffPage) -> "TiffLevel":
        """Return the level that a directory describes.

        Raises
        ------
        NotSupportedError : its tiles are stored in a way that is left to OpenSlide.
        """
        decoder = find_decoder(page)
        columns = -(-page.imagewidth // page.tilewidth)
        rows = -(-page.imagelength // page.tilelength)
        if not columns * rows == len(page.dataoffsets) == len(page.databytecounts):
            raise NotSupportedError(
                f"{len(page.dataoffsets)} tiles for {columns} columns and {rows} rows"
            )
        if page.tilewidth * page.tilelength > LARGEST_TILE:
            raise NotSupportedError(f"tiles of {page.tilewidth} x {page.tilelength} pixels")
        return cls(
            page.imagewidth,
            page.imagelength,
            page.tilewidth,
            page.tilelength,
            columns,
            rows,
            page.dataoffsets,
            page.databytecounts,
            decoder,
        )

    def reductions(self) -> tuple[int, ...]:
        """Return the factors by which the tiles can be decoded smaller."""
        return tuple(
            factor
            for factor in self.decoder.reductions
            if self.tile_width % factor == self.tile_height % factor == 0
        )
