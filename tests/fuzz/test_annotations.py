"""Data sets that somebody else has made: lists, annotations, folders."""

import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from tests.fuzz.answers import FEW, MANY, answer, check_message, refusal
from workers.data import check_classification_data, check_detection_data, open_detection_data
from workers.data.annotated import NO_ANNOTATION
from workers.data.interface import DataReport
from workers.data.reading import leads_out
from workers.data.voc import MAX_ANNOTATION_BYTES
from workers.settings import ImageFolderData, VocData

OBJECT = "<object><name>cell</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>20</xmax><ymax>25</ymax></bndbox></object>"
SOUND = f"<annotation>{OBJECT}</annotation>"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three images; `a` is the one whose files are replaced."""
    folder = tmp_path_factory.mktemp("data") / "set"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for image_id in "abc":
        PillowImage.new("RGB", (40, 30)).save(folder / "JPEGImages" / f"{image_id}.jpg")
        (folder / "Annotations" / f"{image_id}.xml").write_text(SOUND)
    (folder / "ImageSets/Main/train.txt").write_text("a\nb\n")
    (folder / "ImageSets/Main/val.txt").write_text("c\n")
    (folder.parent / "secret.xml").write_text(SOUND)
    shutil.copy(folder / "JPEGImages/a.jpg", folder.parent / "secret.jpg")
    return folder


def settings(root: Path, **changes: Any) -> VocData:
    return VocData.model_validate({"format": "voc", "root": str(root), "max_invalid_share": 1, **changes})


def check(root: Path, **changes: Any) -> DataReport | None:
    """What is found in a data set; a report can be printed."""
    report = answer(lambda: check_detection_data(settings(root, **changes)))
    if report is not None:
        check_message("\n".join(report.lines()))
    return report


@pytest.fixture
def annotate(root: Path) -> Iterator[Callable[[bytes], None]]:
    """Replaces the annotation of image `a` while a test runs."""
    path = root / "Annotations/a.xml"
    yield lambda data: (path.unlink(missing_ok=True), path.write_bytes(data))[0]
    path.unlink()
    path.write_text(SOUND)


PIECES = [
    *("<annotation>", "</annotation>", "<object>", "</object>", "<name>", "</name>", "cell", "<bndbox>", "</bndbox>"),
    *("<xmin>", "</xmin>", "<xmax>", "</xmax>", "<!--", "-->", "<![CDATA[", "]]>", "&amp;", "&lt;", "&#0;", "&#x9b;"),
    *("&e;", "<?xml version='1.0' encoding='utf-16'?>", "<!DOCTYPE a>", "<difficult>", "</difficult>", OBJECT, OBJECT),
]


@MANY
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=15).map("".join))
def test_any_text_is_an_annotation_or_left_out(root: Path, text: str) -> None:
    path = root / "Annotations/a.xml"
    try:
        path.write_text(text, errors="surrogatepass")
        report = check(root)
        assert report is not None and report.num_train in (1, 2)
    finally:
        path.write_text(SOUND)


@MANY
@given(st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_any_damaged_annotation_is_one_or_left_out(root: Path, changes: list[tuple[int, int]]) -> None:
    path = root / "Annotations/a.xml"
    data = bytearray(SOUND.encode())
    for position, byte in changes:
        data[position] = byte
    try:
        path.write_bytes(data)
        assert check(root) is not None
    finally:
        path.write_text(SOUND)


NUMBERS = [
    "nan",
    "inf",
    "-inf",
    "1e308",
    "-1e308",
    "1e999",
    "9" * 5000,
    "0x10",
    "1_0",
    "\u0661",
    "",
    " 5 ",
    "5,0",
    "-0",
    "5e-324",
]


@MANY
@given(st.lists(st.sampled_from(NUMBERS) | st.floats().map(str), min_size=4, max_size=4))
def test_any_coordinates_are_a_box_in_the_image_or_left_out(root: Path, corners: list[str]) -> None:
    path = root / "Annotations/a.xml"
    x1, y1, x2, y2 = corners
    box = f"<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>"
    try:
        path.write_text(f"<annotation><object><name>cell</name>{box}</object></annotation>")
        check(root)
        data = open_detection_data(settings(root))
        for index in range(len(data.train)):
            boxes = data.train.target(index).boxes
            assert np.isfinite(boxes).all() and (boxes >= 0).all() and (boxes[:, 2:] > boxes[:, :2]).all()
    finally:
        path.write_text(SOUND)


ENTITIES = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "lol"}">' for i in range(12))
HOSTILE = {
    "billion laughs": f"<!DOCTYPE a [{ENTITIES}]><annotation>&l11;</annotation>",
    "one long entity": f'<!DOCTYPE a [<!ENTITY e "{"x" * 10**5}">]><annotation>{"&e;" * 10**4}</annotation>',
    "a file as an entity": '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotation>&e;</annotation>',
    "a parameter entity": '<!DOCTYPE a [<!ENTITY % e SYSTEM "file:///etc/passwd"> %e;]><annotation/>',
    "a DTD of the net": f'<!DOCTYPE annotation SYSTEM "http://127.0.0.1:9/a.dtd">{SOUND}',
    "a DTD of the disk": f'<!DOCTYPE annotation SYSTEM "file:///dev/zero">{SOUND}',
    "inclusion": '<annotation xmlns:x="http://www.w3.org/2001/XInclude"><x:include href="/etc/passwd"/></annotation>',
    "deep": "<a>" * 3 * 10**5,
    "deep and closed": f"<annotation>{'<a>' * 10**5}{'</a>' * 10**5}</annotation>",
    "many attributes": "<annotation " + "".join(f"a{i}='' " for i in range(10**5)) + "/>",
    "a long name": f"<annotation><object><name>{'x' * 10**6}</name></object></annotation>",
    "a name for the terminal": SOUND.replace("cell", "\x9b31m"),
    "a name of two lines": SOUND.replace("cell", "a\nb"),
    "a long number": SOUND.replace("20", "9" * 10**6),
    "another encoding": '<?xml version="1.0" encoding="utf-7"?><annotation/>',
    "no encoding": f'<?xml version="1.0" encoding="{"x" * 10**4}"?><annotation/>',
    "a codec that unpacks": '<?xml version="1.0" encoding="zlib_codec"?><annotation/>',
    "nothing": "",
    "a null": "\x00",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_unfolds_reaches_out_or_is_endless_is_left_out(
    name: str, root: Path, annotate: Callable[[bytes], None]
) -> None:
    annotate(HOSTILE[name].encode())
    report = check(root)
    assert report is not None
    assert report.class_names == ("cell",)
    assert (report.num_train, len(report.problems)) == ((1, 1) if "DTD" not in name else (2, 0))
    if [problem.kind for problem in report.problems] == [NO_ANNOTATION]:
        assert "a.xml" in refusal(lambda: check_detection_data(settings(root, invalid_boxes="refuse")))


def test_an_external_dtd_is_never_fetched(root: Path, annotate: Callable[[bytes], None]) -> None:
    os.mkfifo(root / "dtd")  # whoever opened it would wait for ever
    annotate(f'<!DOCTYPE annotation SYSTEM "file://{root}/dtd">{SOUND}'.encode())
    try:
        assert check(root) is not None
    finally:
        (root / "dtd").unlink()


def test_a_pipe_or_a_device_or_an_endless_file_is_no_annotation(root: Path, annotate: Callable[[bytes], None]) -> None:
    path = root / "Annotations/a.xml"
    for make in (
        lambda: os.mkfifo(path),
        lambda: path.symlink_to("/dev/zero"),
        lambda: path.symlink_to("a.xml"),
        lambda: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), MAX_ANNOTATION_BYTES + 1),
    ):
        path.unlink(missing_ok=True)
        make()
        report = answer(lambda: check_detection_data(settings(root)))
        assert report is None or [problem.kind for problem in report.problems] == [NO_ANNOTATION]


def test_names_inside_an_annotation_are_not_followed(root: Path, annotate: Callable[[bytes], None]) -> None:
    head = "<filename>../../secret.jpg</filename><folder>/etc</folder><path>/etc/passwd</path>"
    annotate(SOUND.replace("<object>", f"{head}<object>", 1).encode())
    data = open_detection_data(settings(root))
    assert len(data.train) == 2
    data.train.image(0)


WAYS_OUT = [
    "../../secret",
    "..",
    "../..",
    "/etc/passwd",
    "x/../../../secret",
    "a/../b",
    "//x",
    "a\x00b",
    "./../../secret",
]


@pytest.mark.parametrize("name", WAYS_OUT)
def test_a_name_that_leads_out_is_refused_wherever_it_is_written(name: str, root: Path) -> None:
    list_file = root / "ImageSets/Main/train.txt"
    try:
        list_file.write_text(name + "\n")
        assert "leads out of" in refusal(lambda: check_detection_data(settings(root)))
    finally:
        list_file.write_text("a\nb\n")
    assert "leads out of" in refusal(lambda: check_detection_data(settings(root, train=[name])))
    images = ImageFolderData(format="imagefolder", root=str(root), train=name)
    assert "is no folder in" in refusal(lambda: check_classification_data(images))


@MANY
@given(st.lists(st.sampled_from(["..", ".", "/", "a", "b", "\\", "\x00", " "]), max_size=8).map("".join))
@example("..\\..")
def test_no_name_that_is_let_pass_leads_out(name: str) -> None:
    if not leads_out(name):
        assert os.path.normpath(os.path.join("/data/set", name)).startswith("/data/set")


def test_a_link_within_the_folder_is_its_owners_and_is_followed(root: Path, annotate: Callable[[bytes], None]) -> None:
    (root / "Annotations/a.xml").unlink()
    (root / "Annotations/a.xml").symlink_to(root.parent / "secret.xml")
    report = check(root)
    assert report is not None and report.num_train == 2


@FEW
@given(st.binary(max_size=60) | st.text(max_size=30).map(str.encode))
@example(b"a\x00")
@example(b"\x1b[31mx")
@example(b"x" * 300)
@example(b"./.")
@example(b"b\x85b")
@example("b\u2028b".encode())
def test_any_bytes_are_a_list_or_refused(root: Path, data: bytes) -> None:
    list_file = root / "ImageSets/Main/train.txt"
    try:
        list_file.write_bytes(data)
        check(root)
    finally:
        list_file.write_text("a\nb\n")


odd_names = st.text(min_size=1, max_size=12) | st.sampled_from(
    ["train", "a/train", "train/", "//", ".", "x" * 5000, "\x1b[31m"]
)


@FEW
@given(st.lists(odd_names, min_size=1, max_size=2), odd_names)
def test_any_split_is_read_or_refused(root: Path, splits: list[str], folder: str) -> None:
    check(root, train=splits)
    answer(lambda: check_detection_data(settings(root / folder if "\x00" not in folder else root)))
    answer(lambda: check_classification_data(ImageFolderData(format="imagefolder", root=str(root), train=splits[0])))


def test_a_folder_whose_name_is_no_text_is_no_class(tmp_path: Path) -> None:
    for name in (b"\xff", b"\x1b[31m"):
        folder = tmp_path / str(zlib.crc32(name))
        for split in ("train", "val"):
            for class_name in (b"cell", name):
                (folder / split).mkdir(parents=True, exist_ok=True)
                (folder / split / os.fsdecode(class_name)).mkdir()
        images = ImageFolderData(format="imagefolder", root=str(folder))
        assert "that can't be a class" in refusal(lambda images=images: check_classification_data(images))  # type: ignore[misc]


def test_a_pipe_or_a_folder_is_no_image(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("cell", "dot"):
            (tmp_path / split / name).mkdir(parents=True)
            PillowImage.new("RGB", (4, 4)).save(tmp_path / split / name / "a.png")
            os.mkfifo(tmp_path / split / name / "b.png")
            (tmp_path / split / name / "c.png").mkdir()
    report = check_classification_data(ImageFolderData(format="imagefolder", root=str(tmp_path)))
    assert (report.num_train, report.num_val) == (2, 2)
