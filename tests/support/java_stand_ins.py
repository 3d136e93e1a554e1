"""Classes that stand for ONNX Runtime's in Java: they keep the tensor that a program makes, and run nothing."""

from __future__ import annotations

from pathlib import Path

_CLASSES = {
    "OnnxJavaType": "public enum OnnxJavaType { UINT8 }",
    "OrtException": "public class OrtException extends Exception {}",
    "OnnxValue": "public interface OnnxValue extends AutoCloseable { Object getValue(); void close(); }",
    "OrtEnvironment": """public class OrtEnvironment {
        public static OrtEnvironment getEnvironment() { return null; }
        public OrtSession createSession(String path) throws OrtException { return null; }
    }""",
    "OrtSession": """public class OrtSession implements AutoCloseable {
        public Result run(java.util.Map<String, OnnxTensor> inputs) throws OrtException { return null; }
        public void close() throws OrtException {}
        public static class Result implements AutoCloseable {
            public java.util.Optional<OnnxValue> get(String name) { return null; }
            public void close() {}
        }
    }""",
    "OnnxTensor": """public class OnnxTensor implements OnnxValue {
        public java.nio.ByteBuffer data;
        public long[] shape;
        public static OnnxTensor createTensor(
                OrtEnvironment environment, java.nio.ByteBuffer data, long[] shape, OnnxJavaType type)
                throws OrtException {
            OnnxTensor made = new OnnxTensor();
            made.data = data;
            made.shape = shape;
            return made;
        }
        public Object getValue() { return null; }
        public void close() {}
    }""",
}
_DUMP = """class Dump {
    public static void main(String[] names) throws Exception {
        for (int i = 0; i < names.length; i++) {
            try {
                ai.onnxruntime.OnnxTensor tensor = Classify.read(null, names[i]);
                byte[] bytes = new byte[tensor.data.remaining()];
                tensor.data.get(bytes);
                java.nio.file.Files.write(java.nio.file.Path.of(i + ".pixels"), bytes);
                System.out.println(java.util.Arrays.toString(tensor.shape));
            } catch (java.io.IOException error) {
                System.out.println(error.getMessage());
            }
        }
    }
}
"""


def write_stand_ins(folder: Path) -> None:
    """Writes their sources, and ``Dump.java``, which writes what ``Classify.read`` makes of images."""
    package = folder / "ai" / "onnxruntime"
    package.mkdir(parents=True)
    for name, source in _CLASSES.items():
        (package / f"{name}.java").write_text(f"package ai.onnxruntime;\n\n{source}\n", encoding="utf-8")
    (folder / "Dump.java").write_text(_DUMP, encoding="utf-8")
