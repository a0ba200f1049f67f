"""NIfTI, pictures, ITK's formats and archives that claim what is not so."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib

import numpy as np
from hypothesis import strategies as st
from nibabel import Nifti1Header

_SIZES = (-32768, -1, 0, 1, 2, 64, 300, 32767)
_FLOATS = (0.0, -1.0, 1.0, 1e-30, 1e30, float("nan"), float("inf"), -float("inf"))
_CODES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1536, 1792, 2048, 2304, 9999)
_FIELDS = (
    *("dim", "pixdim", "datatype", "bitpix", "vox_offset", "scl_slope", "scl_inter", "sform", "qform"),
    *("sizeof_hdr", "magic"),
)


@st.composite
def nifti_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """(ending, content) of a volume or plane, cut or packed like a bomb now and then."""
    header = Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(draw(st.sampled_from(((32, 32), (32, 32, 1), (16, 16, 12)))))
    header.set_sform(np.diag([0.5, 0.5, 2.0, 1.0]), code=1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    for name in draw(st.lists(st.sampled_from(_FIELDS), min_size=1, max_size=3, unique=True)):
        _tamper(draw, header, name)
    content = header.binaryblock + bytes(4)
    content += (np.arange(16 * 16 * 12, dtype=np.int16) - 1000).tobytes()
    content = content[: draw(st.sampled_from((len(content), len(content), 400, 348, 100, 0)))]
    if draw(st.booleans()):
        return ".nii", content
    zeros = bytes(draw(st.sampled_from((0, 0, 0, 2**26))))
    packed = gzip.compress(content + zeros, 1)
    return ".nii.gz", packed[: draw(st.sampled_from((len(packed), len(packed), len(packed) // 2, 12)))]


def _tamper(draw: st.DrawFn, header: Nifti1Header, name: str) -> None:
    number, size = draw(st.sampled_from(_FLOATS)), draw(st.sampled_from(_SIZES))
    place = draw(st.integers(0, 7))
    if name == "dim":
        header["dim"][place] = size
    elif name == "pixdim":
        header["pixdim"][place] = number
    elif name in ("datatype", "bitpix", "sizeof_hdr"):
        header[name] = draw(st.sampled_from(_CODES))
    elif name == "sform":
        header["sform_code"], header["srow_x"], header["srow_z"] = size % 4, number, number
    elif name == "qform":
        header["qform_code"], header["sform_code"] = 1, 0
        header["quatern_b"] = header["quatern_c"] = header["qoffset_x"] = number
    elif name == "magic":
        header["magic"] = draw(st.sampled_from((b"", b"ni1", b"n+2", b"xxx")))
    else:
        header[name] = number


def chunk(kind: bytes, content: bytes, wrong: bool = False) -> bytes:
    """One of PNG."""
    check = zlib.crc32(kind + content) ^ wrong
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


@st.composite
def png_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """A picture whose header, chunks and rows need not agree."""
    width, height = (draw(st.sampled_from((0, 1, 24, 24, 24, 5000, 100_000, 2**31 - 1))) for _ in range(2))
    depth, colour = draw(st.sampled_from((1, 8, 8, 16, 16, 3))), draw(st.sampled_from((0, 0, 2, 3, 4, 6, 9)))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, draw(st.sampled_from((0, 0, 1, 7))))
    extra = {
        "text": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**22), 9)),
        "profile": chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**22), 9)),
        "palette": chunk(b"PLTE", bytes(range(9))),
        "animated": chunk(b"acTL", struct.pack(">II", 3, 0))
        + chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 24, 24, 0, 0, 1, 1, 0, 0)),
        "transparent": chunk(b"tRNS", b"\0\1"),
        "huge": struct.pack(">I", 2**31 - 1) + b"tEXt",
        "wrong": chunk(b"gAMA", b"\0\0\0\1", wrong=True),
    }
    ancillary = "".join(draw(st.lists(st.sampled_from(sorted(extra)), max_size=2, unique=True)))
    between = b"".join(content for name, content in extra.items() if name in ancillary)
    rows = zlib.compress(draw(st.sampled_from((b"", bytes(24 * 25), bytes(range(200)) * 40, bytes(2**24)))))
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + between + chunk(b"IDAT", rows)
    content += chunk(b"IEND", b"") if draw(st.booleans()) else b""
    return draw(st.sampled_from((".png", ".png", ".jpg", ".tif"))), content


@st.composite
def masquerades(draw: st.DrawFn) -> tuple[str, bytes]:
    """A picture whose content is of something else: PostScript, a link to elsewhere, an archive."""
    ending = draw(
        st.sampled_from((".png", ".jpg", ".tiff", ".dcm", ".mha", ".nrrd", ".vtk", ".gipl", ".hdr"))
    )
    start = draw(
        st.sampled_from(
            (
                *(
                    b"",
                    b"\0",
                    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
                    b"GIF89a\xff\xff\xff\xff",
                ),
                *(
                    b"BM",
                    b"II*\0\x08\0\0\0",
                    b"MM\0*\0\0\0\x08",
                    b"\xff\xd8\xff\xe0",
                    b"8BPS\0\1",
                    b"\x89HDF\r\n",
                ),
                *(b"PK\3\4", b"# vtk DataFile Version 3.0\n", b"\0" * 128 + b"DICM", b"NRRD0004\n"),
            )
        )
    )
    return ending, start + draw(st.binary(max_size=200))


@st.composite
def itk_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """MetaImage and NRRD of any size, which name any file as that of their pixels."""
    sizes = " ".join(str(draw(st.sampled_from((-1, 0, 1, 8, 8, 8, 70_000, 2**40)))) for _ in range(3))
    named = draw(
        st.sampled_from((None, None, "/etc/passwd", "../x", "LIST\n/etc/passwd", "", "-", "%d 1 3 1"))
    )
    spacing = draw(st.sampled_from(("1 1 2", "0 0 0", "-1 1 1", "nan 1 1", "1e300 1 1", "1", "")))
    kind = draw(st.sampled_from(("short", "float", "uchar", "x")))
    pixels = bytes(draw(st.sampled_from((0, 100, 1024, 2048))))
    if draw(st.booleans()):
        types = {"short": "MET_SHORT", "float": "MET_FLOAT", "uchar": "MET_UCHAR", "x": "MET_X"}
        text = f"ObjectType = Image\nNDims = {draw(st.sampled_from((0, 2, 3, 3, 9)))}\nDimSize = {sizes}\n"
        text += f"ElementSpacing = {spacing}\nElementType = {types[kind]}\n"
        text += f"CompressedData = {draw(st.sampled_from(('False', 'True')))}\n"
        return ".mha", f"{text}ElementDataFile = {'LOCAL' if named is None else named}\n".encode() + pixels
    text = f"NRRD0004\ntype: {kind}\ndimension: {draw(st.sampled_from((2, 3, 3, 17)))}\nsizes: {sizes}\n"
    text += f"spacings: {spacing}\nendian: little\nencoding: {draw(st.sampled_from(('raw', 'gzip', 'x')))}\n"
    text += "" if named is None else f"data file: {named}\n"
    return ".nrrd", f"{text}\n".encode() + pixels


@st.composite
def zip_files(draw: st.DrawFn, member: bytes) -> tuple[str, bytes]:
    """An archive whose members have any name, method or size."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(draw(st.integers(0, 3))):
            archive.writestr(
                f"{number}.dcm", draw(st.sampled_from((member, member[:200], bytes(2**20), b"")))
            )
        for info in archive.infolist():
            _tamper_member(draw, info)
    content = bytearray(buffer.getvalue())
    for _ in range(draw(st.sampled_from((0, 0, 1, 4)))):
        content[-draw(st.integers(1, min(len(content), 120)))] = draw(st.integers(0, 255))
    return ".zip", bytes(content[: draw(st.sampled_from((len(content), len(content), len(content) - 5)))])


_NAMES = (
    "../x",
    "/tmp/x",
    "a\\..\\b",
    "C:x",
    "x\0.dcm",
    "n" * 4096,
    "a\nb.dcm",
    "",
    "a/../../b",
    "./x",
    "a//b",
)


def _tamper_member(draw: st.DrawFn, info: zipfile.ZipInfo) -> None:
    how = draw(st.sampled_from(("", "", "name", "size", "packed", "offset", "crc", "link", "flag", "method")))
    number = draw(st.sampled_from((0, 1, 2**16, 2**31, 2**32 - 2)))
    if how == "name":
        info.filename = draw(st.sampled_from(_NAMES))
    elif how in ("size", "packed", "offset", "crc"):
        fields = {"size": "file_size", "packed": "compress_size", "offset": "header_offset", "crc": "CRC"}
        setattr(info, fields[how], number)
    elif how == "link":
        info.external_attr = 0o120777 << 16
    elif how == "flag":
        info.flag_bits |= 1
    elif how == "method":
        info.compress_type = draw(st.sampled_from((9, 12, 14, 99)))
