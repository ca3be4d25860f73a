"""The folder of commands as the registry."""

from blofin_cli.app import catalog
from blofin_cli.app.spec import registered


def test_index_read_from_source_equals_loaded_registry():
    """Names and help lines are read without loading; the two must agree."""
    loaded = catalog.load_all()
    for entry in catalog.index().values():
        spec = loaded[entry.name]
        assert entry.help == spec.help.splitlines()[0]
        assert entry.module == spec.function.__module__
    own = {name for name, spec in registered().items() if "commands" in spec.function.__module__}
    assert own == set(catalog.index())


def test_every_field_of_every_command_is_described():
    """A flag without a sentence is a riddle."""
    for spec in catalog.load_all().values():
        assert all(option.help for option in spec.options()), spec.name
