"""Models of random weights, as small as their engines load them: what they hear is nonsense, the same each time."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

LETTERS = [chr(code) for code in range(97, 123)]
MELS = 80


def _whisper_tokens() -> tuple[list[str], list[str]]:
    """Those of text, and the special ones."""
    text = [*LETTERS, *(f"Ġ{letter}{other}" for letter in LETTERS[:10] for other in LETTERS[:4]), "Ġ"]
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|zh|>", "<|translate|>", "<|transcribe|>"]
    special += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    return text, special + [f"<|{index * 0.02:.2f}|>" for index in range(51)]


def _tokenizer(folder: Path, vocabulary: list[str], special: list[str]) -> None:
    import tokenizers

    model = tokenizers.models.BPE(vocab={token: index for index, token in enumerate(vocabulary)}, merges=[])
    made = tokenizers.Tokenizer(model)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.add_special_tokens(special)
    made.save(str(folder / "tokenizer.json"))


def whisper(folder: Path) -> Path:
    """A Whisper model for CTranslate2, with a tokenizer of single letters and a few words."""
    import ctranslate2

    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(7)
    text, special = _whisper_tokens()
    vocabulary = [*text, *special]
    size, heads, inner = 32, 2, 64

    def weights(*shape: int, scale: float = 0.3) -> Any:
        return (chance.standard_normal(shape) * scale).astype(np.float32)

    spec = ctranslate2.specs.WhisperSpec(1, heads, 1, heads)

    def norm(part: Any) -> None:
        part.gamma, part.beta = np.ones(size, np.float32), np.zeros(size, np.float32)

    def linear(part: Any, into: int, out: int) -> None:
        part.weight, part.bias = weights(out, into), weights(out, scale=0.1)

    def attention(part: Any, *, own: bool) -> None:
        norm(part.layer_norm)
        shapes = [(size, 3 * size), (size, size)] if own else [(size, size), (size, 2 * size), (size, size)]
        for layer, (into, out) in zip(part.linear, shapes, strict=True):
            linear(layer, into, out)

    def feed_forward(part: Any) -> None:
        norm(part.layer_norm)
        linear(part.linear_0, size, inner)
        linear(part.linear_1, inner, size)

    encoder = spec.encoder
    encoder.conv1.weight, encoder.conv1.bias = weights(size, MELS, 3), weights(size)
    encoder.conv2.weight, encoder.conv2.bias = weights(size, size, 3), weights(size)
    encoder.position_encodings.encodings = weights(1500, size)
    norm(encoder.layer_norm)
    for layer in encoder.layer:
        attention(layer.self_attention, own=True)
        feed_forward(layer.ffn)
    decoder = spec.decoder
    decoder.embeddings.weight = weights(len(vocabulary), size, scale=0.6)
    decoder.projection.weight = decoder.embeddings.weight
    decoder.projection.bias = np.zeros(len(vocabulary), np.float32)
    decoder.projection.bias[len(text)] = 4.0  # it ends soon
    decoder.position_encodings.encodings = weights(448, size)
    norm(decoder.layer_norm)
    for layer in decoder.layer:
        attention(layer.self_attention, own=True)
        attention(layer.attention, own=False)
        feed_forward(layer.ffn)
    spec.config.suppress_ids = [index for index in range(len(text), len(vocabulary)) if index != len(text)]
    spec.config.suppress_ids_begin = [len(text)]
    spec.config.lang_ids = [vocabulary.index("<|en|>"), vocabulary.index("<|zh|>")]
    spec.config.alignment_heads = [[0, 0], [0, 1]]
    spec.register_vocabulary(vocabulary)
    spec.validate()
    spec.save(str(folder))
    _tokenizer(folder, vocabulary, special)
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": MELS}), encoding="utf-8")
    return folder


def _constant(name: str, values: Any) -> Any:
    import onnx

    return onnx.numpy_helper.from_array(np.asarray(values), name)


def _value(name: str, shape: list[Any], kind: int = 1) -> Any:
    """``kind``: as ONNX numbers them; 1: floats."""
    from onnx import helper

    return helper.make_tensor_value_info(name, kind, shape)


def _save(
    folder: Path, name: str, nodes: list[Any], given: list[Any], found: list[Any], held: list[Any], about: Any
) -> None:
    import onnx
    from onnx import helper

    graph = helper.make_graph(nodes, name, given, found, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    for key, text in about.items():
        model.metadata_props.add(key=key, value=str(text))
    onnx.save(model, str(folder / f"{name}.onnx"))


def _encoder_nodes() -> list[Any]:
    from onnx.helper import make_node as node

    return [
        node("ReduceMean", ["x"], ["mean"], axes=[1], keepdims=1),
        node("MatMul", ["mean", "w"], ["now"]),
        node("Transpose", ["h"], ["before"], perm=[1, 0, 2]),
        node("Mul", ["before", "half"], ["faded"]),
        node("Add", ["now", "faded"], ["sum"]),
        node("Tanh", ["sum"], ["encoder_out"]),
        node("Transpose", ["encoder_out"], ["new_h"], perm=[1, 0, 2]),
        node("Identity", ["c"], ["new_c"]),
    ]


def sherpa(folder: Path) -> Path:
    """A streaming LSTM transducer for sherpa-onnx whose state and output follow the features."""
    from onnx import TensorProto, helper

    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(11)
    size, frames, shift = 16, 9, 4
    tokens = ["<blk>", "<sos/eos>", "<unk>", *LETTERS[:12], *(f"▁{letter}" for letter in LETTERS[:12])]

    constant, value, save = _constant, _value, functools.partial(_save, folder)

    def weights(*shape: int, scale: float = 1.0) -> Any:
        return (chance.standard_normal(shape) * scale).astype(np.float32)

    node = helper.make_node
    save(
        "encoder",
        _encoder_nodes(),
        [value("x", ["N", frames, MELS]), value("h", [1, "N", size]), value("c", [1, "N", size])],
        [value("encoder_out", ["N", 1, size]), value("new_h", [1, "N", size]), value("new_c", [1, "N", size])],
        [constant("w", weights(MELS, size, scale=0.2)), constant("half", np.float32(0.5))],
        {
            "model_type": "lstm",
            "version": 1,
            "model_author": "tests",
            "num_encoder_layers": 1,
            "T": frames,
            "decode_chunk_len": shift,
            "rnn_hidden_size": size,
            "d_model": size,
        },
    )
    save(
        "decoder",
        [
            node("Gather", ["table", "y"], ["each"]),
            node("ReduceMean", ["each"], ["decoder_out"], axes=[1], keepdims=0),
        ],
        [value("y", ["N", 2], TensorProto.INT64)],
        [value("decoder_out", ["N", size])],
        [constant("table", weights(len(tokens), size))],
        {"context_size": 2, "vocab_size": len(tokens)},
    )
    save(
        "joiner",
        [
            node("Add", ["encoder_out", "decoder_out"], ["sum"]),
            node("Tanh", ["sum"], ["bent"]),
            node("MatMul", ["bent", "out"], ["logit"]),
        ],
        [value("encoder_out", ["N", size]), value("decoder_out", ["N", size])],
        [value("logit", ["N", len(tokens)])],
        [constant("out", weights(size, len(tokens)))],
        {"joiner_dim": size},
    )
    lines = [f"{token} {index}" for index, token in enumerate(tokens)]
    (folder / "tokens.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
