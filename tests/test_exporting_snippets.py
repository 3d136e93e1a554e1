"""The programs of ``export --snippet`` give the answers of ``predict``, without this package."""

from __future__ import annotations

import ast
import dataclasses
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image
from support.java_stand_ins import write_stand_ins
from support.running import command_environment
from support.synthetic_models import images as synthetic_images
from support.synthetic_models import labels_model, telling_model

from resnet_cli.config.export import ExportConfig
from resnet_cli.config.snippets import SNIPPETS, Language
from resnet_cli.errors import ConfigError
from resnet_cli.exported import coreml, executorch, litert, mnn, ncnn, openvino
from resnet_cli.exported.metadata import IMAGES, NOVELTY, PIXELS, PROBS, RAW_IMAGES, ExportMetadata
from resnet_cli.exported.onnx import OnnxModel
from resnet_cli.exporting.export import Job
from resnet_cli.exporting.snippets import snippet as snippets
from resnet_cli.exporting.snippets.snippet import SCRIPTS, literal, snippet
from resnet_cli.images import decode
from resnet_cli.prediction import Predictor, to_predictions
from resnet_cli.preprocess import Fit, Interpolation, Preprocess

pytest_plugins = ["support.exported_model", "support.narrow_network"]

EXAMPLE = Path(__file__).parent.parent / "examples" / "onnx_predict.py"
TEMPLATES = Path(snippets.__file__).parent / "templates"
UNLIKE = "unlike the training images"
#: What formats need beyond the packages of the core.
RUNTIMES = {"openvino": ["openvino"], "ncnn": ["ncnn", "pnnx"], "mnn": ["MNN"]}
#: Runs a program where this package cannot be imported.
ALONE = "import runpy, sys; sys.modules['resnet_cli'] = None; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
#: Where the libraries of other languages are: they are not on a package index of Python.
NODE_MODULES = "RESNET_CLI_TEST_NODE_MODULES"
ONNXRUNTIME_CPP = "RESNET_CLI_TEST_ONNXRUNTIME_CPP"
ONNXRUNTIME_JAR = "RESNET_CLI_TEST_ONNXRUNTIME_JAR"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Images of several sizes and color modes, of which one is turned by its EXIF orientation."""
    folder = tmp_path_factory.mktemp("photos")
    for number, image in enumerate(synthetic_images()):
        image.save(folder / f"{number}.png")
    colored = synthetic_images()[0]
    turned = Image.Exif()
    turned[0x0112] = 6
    colored.save(folder / "turned.jpg", exif=turned)
    colored.convert("L").save(folder / "gray.png")
    colored.convert("L").save(folder / "gray.jpg")
    colored.convert("CMYK").save(folder / "cmyk.jpg")
    colored.quantize(16).save(folder / "palette.png", transparency=3)
    Image.fromarray(np.asarray(colored.convert("L"), dtype=np.uint16) * 257).save(folder / "gray16.png")
    colored.putalpha(Image.linear_gradient("L").resize(colored.size))
    colored.save(folder / "transparent.png")
    return [str(path) for path in sorted(folder.iterdir())]


def config_of(kind: str, language: str | None = None) -> ExportConfig:
    """The config of a key of ``SNIPPETS``."""
    options = {"format": "onnx", "input": "tensor"} if kind == "tensor" else {"format": kind}
    return ExportConfig.model_validate(options | {"snippet": language})


def program(language: Language, file: Path, metadata: ExportMetadata, kind: str = "onnx") -> str:
    return snippet(language, kind, metadata, file)


def expected(predictor: Predictor[Any], photos: list[str]) -> list[list[str]]:
    """Lines as the programs print them, split at tabs."""
    outputs = predictor.predict_images([decode(Path(path).read_bytes(), path) for path in photos])
    lines = []
    for found in to_predictions(predictor, photos, outputs, topk=3):
        shown = [pair for pair in found.topk if found.labels is None or pair[0] in found.labels]
        cells = [cell for name, prob in shown for cell in (name, f"{prob:.4f}")] or ["none"]
        lines.append([found.path, *cells, *([UNLIKE] if found.is_unfamiliar else [])])
    return lines


def check(text: str, predictor: Predictor[Any], photos: list[str]) -> None:
    found = [line.split("\t") for line in text.splitlines()]
    for line, wanted in zip(found, expected(predictor, photos), strict=True):
        assert line[1::2] == wanted[1::2] and line[0] == wanted[0]
        probs, wanted_probs = ([float(x) for x in cells[2::2] if x != UNLIKE] for cells in (line, wanted))
        np.testing.assert_allclose(probs, wanted_probs, atol=1e-3)
        assert (line[-1] == UNLIKE) == (wanted[-1] == UNLIKE)


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env=command_environment(), capture_output=True, text=True, check=False)


def check_command(command: list[str], model: OnnxModel, photos: list[str], cwd: Path) -> None:
    """A program's answers, its usage line, and its exit code for an image that it cannot read."""
    done = run([*command, *photos], cwd)
    assert done.returncode == 0, done.stderr
    check(done.stdout, model, photos)
    for wrong, message in ([], "usage: "), (["absent.png"], "absent.png: "):
        done = run([*command, *wrong], cwd)
        assert done.returncode == 1 and message in done.stderr and done.stdout == ""


@pytest.fixture(params=["made_onnx", "labels_onnx"])
def model(request: pytest.FixtureRequest) -> OnnxModel:
    """A single-label and a multi-label file."""
    return OnnxModel.load(request.getfixturevalue(request.param))


def test_python_gives_the_same_answers_where_this_package_is_not(
    model: OnnxModel, photos: list[str], tmp_path: Path
) -> None:
    (tmp_path / "classify.py").write_text(program("python", model.path, model.metadata), encoding="utf-8")
    check_command([sys.executable, "-c", ALONE, "classify.py"], model, photos, tmp_path)


def test_node_gives_the_same_answers(model: OnnxModel, photos: list[str], tmp_path: Path) -> None:
    folder = given(NODE_MODULES, "a node_modules folder with onnxruntime-node and sharp", "node")
    (tmp_path / "node_modules").symlink_to(folder, target_is_directory=True)
    (tmp_path / "classify.mjs").write_text(program("js", model.path, model.metadata), encoding="utf-8")
    check_command(["node", "classify.mjs"], model, photos, tmp_path)


def test_cpp_gives_the_same_answers(model: OnnxModel, photos: list[str], tmp_path: Path) -> None:
    folder = given(ONNXRUNTIME_CPP, "a folder with include/ and lib/ of ONNX Runtime", "g++")
    opencv = ["-I/usr/include/opencv4", *(f"-lopencv_{name}" for name in ("core", "imgproc", "imgcodecs"))]
    runtime = [f"-I{folder}/include", f"-L{folder}/lib", f"-Wl,-rpath,{folder}/lib", "-lonnxruntime"]
    (tmp_path / "classify.cpp").write_text(program("cpp", model.path, model.metadata), encoding="utf-8")
    build = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "classify.cpp", "-o", "classify", *opencv, *runtime]
    done = run(build, tmp_path)
    assert done.returncode == 0, done.stderr
    # OpenCV rounds every value of CMYK down, of which random weights make much.
    check_command(["./classify"], model, [path for path in photos if "cmyk" not in path], tmp_path)
    turned = Image.Exif()
    turned[0x0112] = 3
    with Image.open(next(path for path in photos if "transparent" in path)) as image:
        image.save(tmp_path / "both.png", exif=turned)
    done = run(["./classify", "both.png"], tmp_path)
    # OpenCV turns the colors, and would combine them with the transparency of other pixels.
    assert done.returncode == 1 and "both.png: transparent and turned by EXIF data" in done.stderr


def test_java_compiles(model: OnnxModel, tmp_path: Path) -> None:
    jar = given(ONNXRUNTIME_JAR, "onnxruntime.jar", "javac")
    (tmp_path / "Classify.java").write_text(program("java", model.path, model.metadata), encoding="utf-8")
    done = run(["javac", "-Xlint:all", "-Werror", "-cp", str(jar), "-d", "out", "Classify.java"], tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_java_reads_the_pixels_that_predict_reads(model: OnnxModel, photos: list[str], tmp_path: Path) -> None:
    if shutil.which("javac") is None:
        pytest.skip("javac is not installed")
    write_stand_ins(tmp_path)
    (tmp_path / "Classify.java").write_text(program("java", model.path, model.metadata), encoding="utf-8")
    done = run(["javac", "-d", "out", *(str(path) for path in tmp_path.rglob("*.java"))], tmp_path)
    assert done.returncode == 0, done.stderr
    done = run(["java", "-cp", "out", "Dump", *photos], tmp_path)
    assert done.returncode == 0, done.stderr
    for number, (path, said) in enumerate(zip(photos, done.stdout.splitlines(), strict=True)):
        if "cmyk" in path:
            assert "neither RGB nor gray" in said
            continue
        wanted = np.asarray(decode(Path(path).read_bytes(), path))
        found = np.fromfile(tmp_path / f"{number}.pixels", np.uint8)
        assert said == str([1, *wanted.shape]), path
        np.testing.assert_array_equal(found, wanted.ravel(), err_msg=path)


def given(variable: str, what: str, command: str) -> Path:
    """The path that an environment variable names, or a skip."""
    if variable not in os.environ:
        pytest.skip(f"{variable} does not name {what}")
    if shutil.which(command) is None:
        pytest.skip(f"{command} is not installed")
    return Path(os.environ[variable]).resolve()


def test_the_example_is_the_program_in_python(made_onnx: Path) -> None:
    metadata = OnnxModel.load(made_onnx).metadata
    made = program("python", Path("model.onnx"), metadata).replace("classify.py", "examples/onnx_predict.py")
    assert EXAMPLE.read_text(encoding="utf-8") == made


@pytest.mark.parametrize("kind", ["tensor", "pt2", "openvino", "ncnn", "mnn"])
@pytest.mark.parametrize("make", [telling_model, labels_model])
def test_python_runs_every_format(
    kind: str,
    make: Any,
    narrow: None,
    photos: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in RUNTIMES.get(kind, ()):
        pytest.importorskip(module, reason=f"{module} is not installed")
    job = Job(make(), config_of(kind))
    path = tmp_path / "model"
    if job.is_folder:
        path.mkdir()
    predictor = job.write(path)
    (tmp_path / "classify.py").write_text(program("python", path, job.metadata, kind), encoding="utf-8")
    # In this process: some of these formats need torch, which takes seconds to import.
    monkeypatch.setattr(sys, "argv", ["classify.py", *photos])
    runpy.run_path(str(tmp_path / "classify.py"), run_name="__main__")
    check(capsys.readouterr().out, predictor, photos)


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_python_makes_the_square_of_the_training(fit: Any, interpolation: Any, made_onnx: Path) -> None:
    preprocess = Preprocess(resize_size=36, crop_size=32, interpolation=interpolation).with_fit(fit)
    metadata = dataclasses.replace(
        OnnxModel.load(made_onnx).metadata, preprocess=preprocess.to_dict(), input_kind="tensor"
    )
    source = ast.parse(program("python", Path("model.onnx"), metadata, "tensor"))
    names: dict[str, Any] = {}
    # Without what it does with the command line.
    kept: list[ast.stmt] = [
        node for node in source.body if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef)
    ]
    exec(compile(ast.Module(kept, []), "classify.py", "exec"), names)
    for width, height in (50, 40), (33, 97), (7, 32), (3, 200), (1, 1):
        image = Image.effect_noise((width, height), 90).convert("RGB")
        np.testing.assert_array_equal(np.asarray(names["fit"](image)), preprocess(image))


@pytest.mark.slow
@pytest.mark.parametrize(("fit", "interpolation"), [("crop", "bilinear"), ("pad", "bicubic"), ("squash", "bilinear")])
def test_cpp_makes_the_square_of_the_training(fit: Any, interpolation: Any, made_onnx: Path, tmp_path: Path) -> None:
    if shutil.which("g++") is None or not Path("/usr/include/opencv4").exists():
        pytest.skip("g++ or OpenCV is not installed")
    preprocess = Preprocess(resize_size=36, crop_size=32, interpolation=interpolation).with_fit(fit)
    metadata = dataclasses.replace(OnnxModel.load(made_onnx).metadata, preprocess=preprocess.to_dict())
    made = program("cpp", Path("model"), dataclasses.replace(metadata, input_kind="float_pixels"), "mnn")
    resizing = made[made.index("// Resizes to a new width") : made.index("void report")]
    headers = "".join(f"#include <{name}>\n" for name in ("opencv2/core.hpp", "cmath", "cstdio", "numeric", "vector"))
    main = "int main() { cv::Mat image(90, 70, CV_8UC3); if (!fread(image.data, 18900, 1, stdin)) return 1;"
    main += "cv::Mat square = fit(image); fwrite(square.data, 1, square.total() * 3, stdout); }"
    (tmp_path / "fit.cpp").write_text(headers + resizing + main, encoding="utf-8")
    done = run(["g++", "-std=c++17", "-I/usr/include/opencv4", "fit.cpp", "-o", "fit", "-lopencv_core"], tmp_path)
    assert done.returncode == 0, done.stderr
    # Gray, whose three channels would be rounded to another level together.
    image = Image.effect_noise((70, 90), 90).convert("RGB")
    found = subprocess.run(["./fit"], cwd=tmp_path, input=image.tobytes(), capture_output=True, check=True).stdout
    np.testing.assert_array_equal(np.frombuffer(found, np.uint8).reshape(32, 32, 3), preprocess(image))


PROGRAMS = [(kind, language) for kind, languages in SNIPPETS.items() for language in languages]
#: What the loaders of files check: the names of files, and of inputs that are not found by their place.
FILES = {
    "openvino": (openvino.MODEL_FILE,),
    "executorch": (executorch.MODEL_FILE,),
    "litert": (litert.MODEL_FILE,),
    "coreml": (coreml.MODEL_FILE,),
    "ncnn": (ncnn.PARAM_FILE, ncnn.BIN_FILE),
    "mnn": (mnn.MODEL_FILE,),
}
INPUTS = {
    "onnx": RAW_IMAGES,
    "tensor": IMAGES,
    "coreml": coreml.IMAGE,
    "openvino": PIXELS,
    "ncnn": PIXELS,
    "mnn": PIXELS,
}


def variants(kind: str, paths: Sequence[Path]) -> Iterator[ExportMetadata]:
    """The metadata of files with and without thresholds and novelty, in each fit and interpolation."""
    for path in paths:
        metadata = OnnxModel.load(path).metadata
        for fit in get_args(Fit):
            for interpolation in get_args(Interpolation):
                side = Preprocess(resize_size=256, crop_size=224, interpolation=interpolation).with_fit(fit)
                for most_novel in (None,) if kind in {"ncnn", "safetensors"} else (None, metadata.most_novel):
                    yield dataclasses.replace(
                        metadata,
                        preprocess=side.to_dict(),
                        input_kind="picture" if kind == "onnx" else "tensor",
                        most_novel=most_novel,
                    )


@pytest.mark.parametrize(("kind", "language"), PROGRAMS)
def test_every_program_is_made_of_a_template_and_is_short(
    kind: str, language: Language, made_onnx: Path, labels_onnx: Path
) -> None:
    assert (TEMPLATES / language / f"{kind}.j2").exists()
    for metadata in variants(kind, [made_onnx, labels_onnx]):
        made = program(language, Path("model"), metadata, kind)
        assert made.endswith("\n") and "\n\n\n\n" not in made and "{%" not in made and "{{" not in made
        assert all(len(line) <= 120 and line == line.rstrip() for line in made.splitlines())
        # Apple's frameworks do not turn, convert and resize as the training does: Swift needs more lines of its own.
        assert len(made.splitlines()) <= (200 if language == "swift" else 160)


@pytest.mark.parametrize(("kind", "language"), PROGRAMS)
def test_a_program_uses_the_names_that_the_file_has(
    kind: str, language: Language, made_onnx: Path, labels_onnx: Path
) -> None:
    for metadata in variants(kind, [made_onnx, labels_onnx]):
        made = program(language, Path("model"), metadata, kind)
        names = set(re.findall(r'"(\w+)"', made))
        assert all(f"/{file}" in made for file in FILES.get(kind, ()))
        # tract and ExecuTorch number inputs and outputs instead.
        if language != "rust" and kind in INPUTS:
            assert re.search(rf"\b{INPUTS[kind]}\b", made) and PROBS in names
            assert language == "python" or (NOVELTY in names) == (metadata.most_novel is not None)


def test_every_template_belongs_to_a_format() -> None:
    made = {(path.parent.name, path.stem) for path in TEMPLATES.rglob("*.j2")} - {
        (language, "base") for language in SCRIPTS
    }
    assert made == {(language, kind) for kind, language in PROGRAMS}
    assert set(get_args(Language)) == set(SCRIPTS)


#: Texts that end or change a literal in some language, unless they are escaped.
TEXTS = (
    *('a "b" \\ c', "two\nlines\t\r", "$x ${y} \\(z) {0}", "100 % %s", "??/ /* //", "\\u0041 \\x41"),
    *("héron, gris", "日本", "\x1f1", "\u200d\u2028", "\U000e0001", "🐜"),
)
#: Language -> a file that prints texts, each followed by NUL, and the commands that build and run it.
PRINTERS: dict[str, tuple[str, str, list[list[str]]]] = {
    "js": ("print.mjs", 'for (const one of [@]) process.stdout.write(one + "\\0");', [["node", "print.mjs"]]),
    "cpp": (
        "print.cpp",
        "#include <cstdio>\nint main() { const char* all[] = {@};"
        'for (const char* one : all) std::printf("%s%c", one, 0); }',
        [["g++", "-std=c++17", "print.cpp", "-o", "print"], ["./print"]],
    ),
    "java": (
        "Print.java",
        "class Print { public static void main(String[] none) throws Exception {"
        'for (String one : new String[] {@}) System.out.write((one + "\\0").getBytes("UTF-8")); } }',
        [["java", "Print.java"]],
    ),
    "rust": (
        "print.rs",
        'fn main() { for one in [@] { print!("{}\\0", one); } }',
        [["rustc", "print.rs"], ["./print"]],
    ),
}
#: The escapes of Swift, Kotlin and C#: of one character, of a code point, of a UTF-16 unit.
ESCAPE = re.compile(r"\\(?:u\{([0-9a-f]+)\}|u([0-9a-f]{4})|(.))")


@pytest.mark.parametrize("language", PRINTERS)
def test_a_compiler_reads_the_text_that_a_literal_was_made_of(language: str, tmp_path: Path) -> None:
    name, source, commands = PRINTERS[language]
    if shutil.which(commands[0][0]) is None:
        pytest.skip(f"{commands[0][0]} is not installed")
    literals = ", ".join(literal(text, language=language) for text in TEXTS)
    (tmp_path / name).write_text(source.replace("@", literals), encoding="utf-8")
    for command in commands:
        done = subprocess.run(command, cwd=tmp_path, env=command_environment(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().split("\0") == [*TEXTS, ""]


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_is_a_literal_of_each_language(text: str) -> None:
    assert ast.literal_eval(literal(text, language="python")) == text
    assert literal(text, language="java").isascii()
    for language in "swift", "kotlin", "csharp":
        made = literal(text, language=language)[1:-1]
        assert made.isprintable() and '"' not in ESCAPE.sub("", made)
        # Otherwise both would insert a value.
        assert language != "kotlin" or "$" not in ESCAPE.sub("", made)
        assert language != "swift" or "\\(" not in ESCAPE.sub("", made)
        assert _unescaped(made) == text


def _unescaped(made: str) -> str:
    short = {"n": "\n", "r": "\r", "t": "\t"}

    def one(found: re.Match[str]) -> str:
        point, unit, character = found.groups()
        return chr(int(point or unit, 16)) if point or unit else short.get(character, character)

    return ESCAPE.sub(one, made).encode("utf-16", "surrogatepass").decode("utf-16")


def test_a_language_that_a_format_lacks_is_refused_with_those_that_it_has() -> None:
    with pytest.raises(ConfigError, match="is not available for --format pt2") as error:
        config_of("pt2", "swift")
    assert error.value.hint == "choose python"
    with pytest.raises(ConfigError) as error:
        config_of("onnx", "rust")
    assert error.value.hint is not None and error.value.hint.endswith("add --input tensor")
    with pytest.raises(ConfigError, match="has no effect with --benchmark"):
        ExportConfig.model_validate({"benchmark": True, "snippet": "python"})
