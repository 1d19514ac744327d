"""What makes evidence cheap: the made-up model is exported once."""

import shutil

import pytest

from probity.audits import testing


@pytest.fixture(scope="session", autouse=True)
def exported_once(tmp_path_factory):
    """Copies the model of made-up evidence, which differs in its bias alone, wherever it was exported before."""
    export, kept = testing._export, tmp_path_factory.mktemp("exported")

    def copied(folder, *, bias=testing._BIAS):
        source = kept / str(bias)
        if not source.exists():
            export(source, bias=bias)
        shutil.copytree(source, folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(testing, "_export", copied)
        yield
