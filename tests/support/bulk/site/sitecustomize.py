"""Run when Python starts with this folder on its path: loads stubs, and ends at a chosen event.

Every process of a command gets it through PYTHONPATH, however the command starts it.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys

from support.bulk.events import count_if_asked


class _LoadsStubs(importlib.abc.MetaPathFinder):
    """Finds `captune.inference` as usual, and lets its `load` take the folders of stubs."""

    def find_spec(self, name, path=None, target=None):
        if name != "captune.inference":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        execute = spec.loader.exec_module

        def execute_and_change(module):
            execute(module)
            module.load = _loads_stubs(module)

        spec.loader.exec_module = execute_and_change
        return spec


def _loads_stubs(module):
    def load(model, **settings):
        from support.bulk.stub_captioner import is_stub, load_stub

        if is_stub(model):
            return load_stub(model)
        return module.__getattr__("load")(model, **settings)

    return load


sys.meta_path.insert(0, _LoadsStubs())
count_if_asked()
