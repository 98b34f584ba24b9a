"""The habits of the project as tests: lazy imports, floors, docstrings, pins, a true README."""

import ast
import configparser
import importlib
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import zcolor

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = sorted((ROOT / "zcolor").rglob("__init__.py"))
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "zcolor").rglob("*.py")
    if path not in PACKAGES
)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture(scope="module")
def setup_cfg():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def run(*args, cwd=ROOT):
    return subprocess.run(args, cwd=cwd, capture_output=True, text=True, check=False)


# ---- the face ------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["zcolor", "zcolor.settings", "zcolor.registry"])
def test_import_loads_nothing_heavy(module):
    code = (
        f"import sys, {module}; "
        "print(*sorted({'torch', 'scipy', 'skimage', 'cv2', 'h5py'} & set(sys.modules)))"
    )
    result = run(sys.executable, "-W", "error", "-c", code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""


def test_version_is_the_same_everywhere(setup_cfg):
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert setup_cfg["metadata"]["version"] == zcolor.__version__
    assert re.search(r"^version: (.+)$", citation, re.M).group(1) == zcolor.__version__


@pytest.mark.parametrize("name", zcolor.__all__)
def test_every_public_name_resolves(name):
    assert getattr(zcolor, name) is not None
    assert name in dir(zcolor)


def test_unknown_name_is_refused():
    with pytest.raises(AttributeError, match=r"no attribute 'colourise'; it offers .*colorize"):
        _ = zcolor.colourise


@pytest.mark.parametrize("path", [p for p in PACKAGES if p.parent.name != "zcolor"], ids=str)
def test_packages_do_no_work(path):
    statements = ast.parse(path.read_text(encoding="utf-8")).body
    assert len(statements) == 1
    assert isinstance(statements[0], ast.Expr)
    assert isinstance(statements[0].value.value, str)


# ---- docstrings ----------------------------------------------------------------------------


def public_members(module_name):
    module = importlib.import_module(module_name)
    return [
        (name, member)
        for name, member in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(member) or inspect.isclass(member))
        and member.__module__ == module_name
    ]


ARRAY = re.compile(r"(torch\.)?Tensor|npt\.NDArray|np\.ndarray")


@pytest.mark.parametrize("module_name", MODULES)
def test_docstrings_describe_the_parameters(module_name):
    """The linter sees that a docstring is there; this sees that it is complete and up to date.

    A function that takes an array describes its parameters (shape, range, unit), and whoever
    describes parameters describes all of them, and no others.
    """
    for name, member in public_members(module_name):
        doc = inspect.getdoc(member)
        assert doc, f"{module_name}.{name} has no docstring"
        if not inspect.isfunction(member):
            continue
        parameters = inspect.signature(member).parameters
        section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[\w ]*\n-+$|\Z)", doc, re.M | re.S)
        if section:
            lines = re.findall(r"^\*{0,2}(\w[\w, ]*?)(?: ?:.*)?$", section.group(1), re.M)
            described = [part for line in lines for part in line.split(", ")]
            assert sorted(described) == sorted(parameters), f"{module_name}.{name}"
        else:
            arrays = [key for key, p in parameters.items() if ARRAY.match(str(p.annotation))]
            assert arrays == [], f"{module_name}.{name} does not describe its arrays"


# ---- the floors ----------------------------------------------------------------------------


def lint_imports(cwd):
    # Run as a module's function, so that the contracts are checked by the Python of the tests.
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return run(sys.executable, "-c", code, "--no-cache", "--no-logo", cwd=cwd)


def test_every_module_stands_on_a_floor(setup_cfg):
    listed = set(re.findall(r"zcolor[\w.]*", setup_cfg["importlinter:contract:floors"]["layers"]))
    homeless = [
        module
        for module in MODULES
        if not any(module == floor or module.startswith(f"{floor}.") for floor in listed)
    ]
    assert homeless == []


def test_imports_run_downwards():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("importer", "imported", "contract"),
    [
        ("lab", "zcolor.settings", "The floors"),  # siblings on the ground floor
        ("quantizer", "zcolor.decode", "The floors"),  # the row allows the other direction only
        ("upsample", "zcolor.photo", "The floors"),  # upwards
        ("losses", "zcolor.metrics", "The floors"),
        ("colorizer", "zcolor.training.loop", "The floors"),
        ("training.dataset", "zcolor.training.loop", "The order of training"),
        ("models.base", "zcolor.models.zhang", "Families of networks"),
        ("models.newcomer", "zcolor.models.zhang", "Families of networks"),
        ("decode", "zcolor", "Nothing inside the package imports its face"),
        ("settings", "torch", "Settings load no heavy library"),
    ],
)
def test_contracts_catch(tmp_path, importer, imported, contract):
    shutil.copytree(ROOT / "zcolor", tmp_path / "zcolor", ignore=shutil.ignore_patterns("assets"))
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    with (tmp_path / "zcolor" / f"{importer.replace('.', '/')}.py").open("a") as file:
        file.write(f"\nimport {imported}\n")
    result = lint_imports(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert re.search(rf"^{contract}.* BROKEN", result.stdout, re.M), result.stdout


# ---- the installation and the pages --------------------------------------------------------


def test_every_dependency_is_pinned_exactly(setup_cfg):
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []
    pinned = {pin.split("==")[0].lower() for pin in pins}
    extras = setup_cfg["options.extras_require"]
    wanted = [setup_cfg["options"]["install_requires"], extras["dev"], extras["train"]]
    names = {re.match(r"[\w-]+", line).group().lower() for line in "\n".join(wanted).split()}
    assert names - pinned == set()
    assert "torch==2.13.0" in pins


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_snippet_of_the_readme_runs(tmp_path, monkeypatch):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    snippet = re.search(r"```python\n(.*?)```", readme, re.S).group(1)
    monkeypatch.chdir(tmp_path)
    Image.linear_gradient("L").resize((96, 64)).save("grandmother.jpg")
    exec(compile(snippet, "README.md", "exec"), {})
    with Image.open("grandmother-color.jpg") as colored:
        assert colored.mode == "RGB"
        assert colored.size == (96, 64)


def test_every_extra_that_a_message_names_is_there(setup_cfg):
    extras = set(setup_cfg["options.extras_require"])
    sources = [p.read_text() for top in ("zcolor", "studies") for p in (ROOT / top).rglob("*.py")]
    named = {extra for text in sources for extra in re.findall(r"install_command\('(\w+)'\)", text)}
    assert named
    assert named <= extras
    assert not any(re.search(r"pip install '?zcolor\[", text) for text in sources)


def test_python_m_zcolor_is_the_command():
    result = run(sys.executable, "-m", "zcolor", "--version")
    assert result.returncode == 0, result.stderr
    assert zcolor.__version__ in result.stdout


def test_make_begins_anew_where_the_environment_was_left_half_made(tmp_path):
    """As Debian leaves it without python3-venv: a Python and no pip."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "constraints.txt").touch()
    half = tmp_path / ".venv"
    assert run(sys.executable, "-m", "venv", "--without-pip", half).returncode == 0
    # pip's own work needs a network; what is tested is that there is a pip.
    call = ["make", "PYTHON=" + sys.executable, "PIP=.venv/bin/python -m pip --version #",
            ".venv/.stamp-venv"]  # fmt: skip
    made = run(*call, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert (half / ".stamp-venv").exists()
