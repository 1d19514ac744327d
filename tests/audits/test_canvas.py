"""Files of plots: where they may lie."""

from probity.audits.canvas import file_name, save_plot, unused


def test_file_names_cannot_leave_the_folder():
    assert file_name("importance", "by", "../../etc/passwd") == "importance_by_etc_passwd.svg"


def test_a_second_file_of_one_name_gets_a_number(tmp_path):
    for _ in range(3):
        unused(tmp_path, "a.svg").write_text("")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.svg", "a_2.svg", "a_3.svg"]


def test_equal_drawings_are_equal_bytes(tmp_path):
    for name in ("a.svg", "b.svg"):
        save_plot(tmp_path / name, lambda figure, axes: axes.plot([0, 1], [1, 0]), height=2.0, title="$x_{")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "$x_{" in (tmp_path / "a.svg").read_text()
