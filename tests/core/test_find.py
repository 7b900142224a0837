import sys

import pytest
from pydantic import ValidationError

from modeledge.core import RecipeError, add_plugin, build, find, kinds
from modeledge.optim import Optim


def test_the_folder_is_the_registry():
    assert {"adamw", "sgd", "lamb"} <= set(kinds("optim"))
    assert issubclass(find("optim", "sgd"), Optim)


def test_an_unknown_kind_names_the_nearest():
    with pytest.raises(RecipeError, match="no optim named 'adamv'; did you mean 'adam"):
        find("optim", "adamv")


def test_a_part_is_built_from_its_own_settings_and_refuses_others():
    config = find("optim", "sgd").Config(kind="sgd", momentum=0.9)
    assert build("optim", config).config.momentum == 0.9
    with pytest.raises(ValidationError):
        find("optim", "sgd").Config(kind="sgd", betas=(0.9, 0.999))


def test_a_plugin_is_searched_only_after_the_user_named_it(tmp_path, monkeypatch):
    room = tmp_path / "mylab" / "optim"
    room.mkdir(parents=True)
    (tmp_path / "mylab" / "__init__.py").write_text("")
    (room / "__init__.py").write_text("")
    (room / "mine.py").write_text("from modeledge.optim import Optim\nclass Mine(Optim):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RecipeError):
        find("optim", "mine")
    from modeledge.core import find as _  # noqa: F401
    from modeledge.core.find import _PACKAGES

    add_plugin("mylab")
    try:
        assert find("optim", "mine").__name__ == "Mine"
    finally:
        _PACKAGES.remove("mylab")
        kinds.cache_clear()
        sys.modules.pop("mylab", None)
