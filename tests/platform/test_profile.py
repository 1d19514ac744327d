"""Statistics per split and group."""

import json

import numpy as np
import pytest

from probity.data import Statistics
from probity.errors import DataError
from probity.groups import group_codes
from probity.platform.profile import load_statistics, profile


def features_of(path):
    (data,) = load_statistics(path).datasets
    return data.num_examples, {entry.path.step[0]: entry for entry in data.features}


def test_split_statistics_agree_with_numpy(small):
    for split, path in small.statistics.splits.items():
        table = small.examples.table(split)
        rows, features = features_of(small.folder / path)
        assert rows == table.num_rows
        assert set(features) == set(table.column_names)
        ages = table.column("age").to_numpy()
        stats = features["age"].num_stats
        assert (stats.mean, stats.std_dev) == pytest.approx((ages.mean(), ages.std()))
        assert (stats.min, stats.max) == (ages.min(), ages.max())
        assert features["wage"].num_stats.common_stats.num_missing == table.column("wage").null_count
        jobs = table.column("job").to_pylist()
        found = {bucket.label: bucket.sample_count for bucket in features["job"].string_stats.rank_histogram.buckets}
        assert found == {job: jobs.count(job) for job in set(jobs) - {None}}
        assert features["job"].string_stats.common_stats.num_missing == jobs.count(None)


def test_statistics_agree_with_the_public_function_of_tfdv(small):
    import tensorflow_data_validation as tfdv

    table = small.examples.table("train").select(["age", "y"])  # without gaps pandas keeps whole numbers whole
    (theirs,) = tfdv.generate_statistics_from_dataframe(table.to_pandas(), n_jobs=1).datasets
    _, ours = features_of(small.folder / small.statistics.splits["train"])
    for entry in theirs.features:
        assert entry.WhichOneof("stats") == ours[entry.path.step[0]].WhichOneof("stats")
        assert entry.type == ours[entry.path.step[0]].type
        # Which features there are changes nothing about each one.
        assert entry == ours[entry.path.step[0]]


def test_group_statistics_cover_the_group_and_nothing_else(small):
    table = small.examples.table("train")
    for attribute in small.dataset.sensitive:
        codes = group_codes(attribute, table.column(attribute.column))
        for code, group in enumerate(attribute.groups):
            key = f"{attribute.name}={group}"
            count = int((codes == code).sum())
            assert small.statistics.group_counts["train"][key] == count
            if not count:
                assert key not in small.statistics.groups
                continue
            rows, features = features_of(small.folder / small.statistics.groups[key])
            assert rows == count
            assert features["age"].num_stats.mean == pytest.approx(
                np.asarray(table.column("age"))[codes == code].mean()
            )
    assert small.statistics.group_counts["test"]["sex=X"] == 0
    for split, counts in small.statistics.group_counts.items():
        of_sex = sum(count for key, count in counts.items() if key.startswith("sex="))
        assert of_sex == small.examples.files[split].num_rows


def test_files_are_reproducible_and_their_names_hold_no_group(small, tmp_path):
    again = profile(small.examples, small.dataset, out=tmp_path)
    assert again == small.statistics
    assert Statistics.from_json(json.loads(json.dumps(again.to_json()))) == again
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (small.folder / path.name).read_bytes()
        assert "=" not in path.name


def test_what_is_no_statistics_file_is_refused(tmp_path):
    (tmp_path / "x.pbtxt").write_text("Hidden-4711 {")
    with pytest.raises(DataError, match=r"x\.pbtxt") as raised:
        load_statistics(tmp_path / "x.pbtxt")
    assert "Hidden" not in str(raised.value)
