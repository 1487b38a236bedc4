# SPDX-License-Identifier: BSD-3-Clause
"""Blocks of transformers' models, tiny and with random weights, and libattn's of the same weights: models.py LIBATTN_SO
[FAMILY...]

The table of families is families.py. Two layers of each run on padded sequences, by counts and by a key mask, on the
same sequences one after the other, and, of decoders, over a cache in steps that differ for each sequence. A line a
family: the largest error, as a share of what is allowed.
"""

import pathlib
import sys

import families
import libattn
import numpy as np
import torch
import transformers

LAYERS, LENGTHS = 2, (11, 4, 7)
STEPS = ((4, 1, 2), (1, 1, 0), (3, 2, 4), (3, 0, 1))  # tokens of each sequence
ALLOWED = 2e-5  # of what is in a block's output, whose numbers are around 1


def weights_of(model):
    """Random weights by which N(0, 1) stays about that, under the names of the checkpoint."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if not p.requires_grad:  # sinusoids
                continue
            if p.dim() > 1:
                p.normal_(0, p.shape[0 if "Conv1D" in type(parent_of(model, name)).__name__ else -1] ** -0.5)
            elif "weight" in name or "lambda" in name:
                p.normal_(1, 0.2)
            else:
                p.normal_(0, 0.2)
    return {name: value.detach().float() for name, value in model.state_dict().items()}


def parent_of(model, name):
    return model.get_submodule(name.rpartition(".")[0])


def as_floats(tensor):
    return np.ascontiguousarray(tensor.detach().float().numpy())


class Layer:
    """A layer of a family: its weights, and the block of libattn that they make."""

    def __init__(self, attn, family, config, state, number):
        self.attn, self.family, self.state = attn, family, state
        self.prefix = family.layers.replace("N", str(number)) + "."
        self.options = family.of(config, number)
        self.M = next(getattr(config, n) for n in ("hidden_size", "d_model", "n_embd", "dim") if hasattr(config, n))
        self.H = families.H
        self.G = self.options.get("G") or getattr(config, "num_key_value_heads", None) or self.H
        self.D = self.options.get("head_dim") or getattr(config, "head_dim", None) or self.M // self.H
        self.eps = self.options.get("eps") or 1e-12
        self.block = self.make_block()

    def tensor(self, role, kind="weight"):
        """What the checkpoint has for a role, or None."""
        name = self.family.names.get(role)
        if name is None:
            return None
        found = self.state.get(f"{self.prefix}{name}.{kind}")
        return self.state.get(self.prefix + name) if found is None and kind == "weight" else found

    def floats(self, tensor):
        return None if tensor is None else self.attn.floats(as_floats(tensor))

    def norm(self, role):
        weight, bias = self.tensor(role), self.tensor(role, "bias")
        plain = self.options.get("plain_norms") and role in ("self_norm", "feed_norm")
        if weight is None and not plain:
            return None
        kind = self.attn.c.ATTN_LAYER_NORM if self.options["norm"] == "layer" else self.attn.c.ATTN_RMS_NORM
        weight = None if weight is None else weight + self.options.get("unit", 0)
        return self.attn.init("attn_norm_params", kind=kind, eps=self.eps, weight=self.floats(weight),
                              bias=self.floats(bias))

    def rows(self, kind):
        """Of a fused projection: those of q, of k and of v."""
        fused, split = self.tensor("qkv", kind), self.options.get("split")
        H, G, D = self.H, self.G, self.D
        if fused is None or split is None:
            return None
        if split == "heads":
            parts = fused.reshape(H, 3, D, -1).unbind(1)
        elif split == "groups":
            groups = fused.reshape(G, H // G + 2, D, -1)
            parts = groups[:, :-2], groups[:, -2], groups[:, -1]
        else:
            q, v, k = fused.reshape(4, 3, H // 4 * D, -1).unbind(1)
            parts = q, k, v
        width = fused.shape[1:]
        return [part.reshape(-1, *width) for part in parts]

    def projections(self, prefix=""):
        fields = {}
        for kind in ("weight", "bias"):
            split = self.rows(kind) if not prefix else None
            for at, role in enumerate("qkv"):
                value = split[at] if split else self.tensor(prefix + role, kind)
                fields[f"{role}_{kind}"] = self.floats(value)
            if not prefix and not self.options.get("split"):
                fields[f"in_{kind}"] = self.floats(self.tensor("qkv", kind))
            fields[f"out_{kind}"] = self.floats(self.tensor(prefix + "out", kind))
        return fields

    def attention(self, prefix=""):
        order = getattr(self.attn.c, "ATTN_" + self.options.get("order", "OUT_IN"))
        return self.attn.init("attn_mha_params", model_width=self.M, heads=self.H, kv_heads=self.G, head_width=self.D,
                              order=order, **self.projections(prefix))

    def activation(self):
        name, c = self.options["activation"], self.attn.c
        names = dict(silu=c.ATTN_SILU, gelu=c.ATTN_GELU, gelu_tanh=c.ATTN_GELU_TANH, gelu_sigmoid=c.ATTN_GELU_SIGMOID,
                     relu=c.ATTN_RELU, relu2=c.ATTN_RELU_SQUARED, xielu=c.ATTN_XIELU)
        params = None
        if name == "xielu":
            p, n = (torch.nn.functional.softplus(self.tensor("xielu", f"alpha_{of}")) for of in "pn")
            beta = float(self.tensor("xielu", "beta"))
            params = self.attn.init("attn_activation_params", beta=beta, alpha_p=float(p), alpha_n=beta + float(n))
        return names[name], params

    def feed(self):
        if self.family.scope != "block":
            return None
        both, both_bias = self.tensor("gate_up"), self.tensor("gate_up", "bias")
        gate, up = (None, self.tensor("up")) if both is None else both.chunk(2)
        gate_bias, up_bias = (None, self.tensor("up", "bias")) if both_bias is None else both_bias.chunk(2)
        gate, gate_bias = (gate, gate_bias) if both is not None else (self.tensor("gate"), self.tensor("gate", "bias"))
        kind, params = self.activation()
        order = getattr(self.attn.c, "ATTN_" + self.options.get("order", "OUT_IN"))
        return self.attn.init("attn_feed_params", hidden_width=up.shape[1 if order else 0], activation=kind,
                              activation_params=params, order=order, up_weight=self.floats(up),
                              up_bias=self.floats(up_bias), gate_weight=self.floats(gate),
                              gate_bias=self.floats(gate_bias), down_weight=self.floats(self.tensor("down")),
                              down_bias=self.floats(self.tensor("down", "bias")))

    def make_block(self):
        whole = self.family.scope == "block"
        norms = ("self_norm", "cross_norm", "feed_norm", "self_output_norm", "feed_output_norm") if whole else ()
        fields = {role: self.norm(role) for role in norms}
        fields.update({role: self.floats(self.tensor(role)) for role in ("self_layer_scale", "feed_layer_scale")})
        cross = self.attention("cross_") if "cross_q" in self.family.names else None
        return self.attn.create("block", norm_place=1 if self.options.get("post") else 0,
                                self_attention=self.attention(), cross_attention=cross, feed=self.feed(),
                                parallel=1 if self.options.get("parallel") else 0,
                                residual_factor=self.options.get("factor", 0), **fields)

    # -- options of attention --

    def rotary(self):
        of, attn = self.options.get("rope"), self.attn
        if of is None:
            return None
        width = self.options.get("rotary_width") or int(self.D * of.get("partial_rotary_factor", 1.0))
        kinds = dict(default=attn.c.ATTN_ROTARY_PLAIN, llama3=attn.c.ATTN_ROTARY_LLAMA3, yarn=attn.c.ATTN_ROTARY_YARN)
        kind = of.get("rope_type", "default")
        fields = dict(base=of["rope_theta"], scaling=kinds[kind])
        if kind != "default":
            fields.update(factor=of["factor"], original_positions=of["original_max_position_embeddings"])
        if kind == "llama3":
            fields.update(low_turns=of["low_freq_factor"], high_turns=of["high_freq_factor"])
        if kind == "yarn":
            fields.update(beta_fast=of["beta_fast"], beta_slow=of["beta_slow"],
                          no_truncate=0 if of.get("truncate", True) else 1)
        cos, sin = np.empty((2, 64, width // 2), np.float32)
        attn.call("attn_rotary_tables", 64, width, attn.init("attn_rotary_tables_params", **fields), attn.floats(cos),
                  attn.floats(sin))
        order = attn.c.ATTN_ROTARY_INTERLEAVED if self.options.get("interleaved") else attn.c.ATTN_ROTARY_HALF
        return attn.init("attn_rotary", kind=order, width=width, positions=64, cos=attn.floats(cos),
                         sin=attn.floats(sin))

    def qk_norm(self):
        weights = [self.tensor(role) for role in ("q_norm", "k_norm")]
        if weights[0] is None and not self.options.get("qk_norm"):
            return None
        q, k = (None if w is None else self.floats(w + self.options.get("unit", 0)) for w in weights)
        return self.attn.init("attn_qk_norm", kind=self.attn.c.ATTN_RMS_NORM, eps=self.eps, q_weight=q, k_weight=k,
                              all_heads=1 if self.options.get("all_heads") else 0,
                              after_rotary=1 if self.options.get("after_rotary") else 0)

    def relative_bias(self):
        name, windows = self.options.get("buckets"), self.tensor("relative_bias")
        if windows is not None:
            return self.window_bias(windows)
        if name is None:
            return None
        table = np.empty((self.H, 2 * 128 + 1), np.float32)
        self.attn.call("attn_bucket_table", self.H, 32, 128, 1, self.attn.floats(as_floats(self.state[name])),
                       self.attn.floats(table))
        return self.attn.init("attn_relative_bias", table=self.attn.floats(table), reach=128)

    def window_bias(self, table):
        """Of a window of rows and columns, whose table is there backwards."""
        rows = self.options["rows"]
        N = (2 * rows - 1) ** 2
        table = torch.cat((table[:N].flip(0), table[N:])).T
        return self.attn.init("attn_relative_bias", table=self.floats(table), rows=rows, columns=rows,
                              prefix=1 if table.shape[1] > N else 0)

    def params(self, **fields):
        """attn_sdpa_params of the layer's self-attention."""
        o, attn = self.options, self.attn
        left, both = o.get("window"), o.get("both_sides")
        window = (left, -1) if left is not None else (both, both) if both is not None else None
        causal = self.family.kind in ("causal", "decoder") or self.options.get("causal")
        if o.get("alibi"):
            fields["alibi"] = attn.c.ATTN_ALIBI_STANDARD
        if o.get("alibi_scaled"):  # Falcon adds it before it scales
            slopes = np.array([2.0 ** (-8 * (h + 1) / self.H) for h in range(self.H)], np.float32) / self.D**0.5
            fields.update(alibi=attn.c.ATTN_ALIBI_SLOPES, alibi_slopes=attn.floats(slopes))
        factor = o.get("factor_of_q")
        return attn.init("attn_sdpa_params", scale=o.get("scale"), softcap=o.get("softcap"), chunk=o.get("chunk"),
                         causal=attn.c.ATTN_CAUSAL_BOTTOM_RIGHT if causal else attn.c.ATTN_CAUSAL_NONE,
                         window=window and attn.ffi.new("attn_window *", window), rotary=self.rotary(),
                         qk_norm=self.qk_norm(), relative_bias=self.relative_bias(),
                         sinks=self.floats(self.tensor("sinks")),
                         query_factor=factor and attn.ffi.new("attn_query_factor *", factor), **fields)

    def run(self, x, params, **inputs):
        out = np.full_like(x, np.nan)
        self.attn.call("attn_block_forward", self.block, x[:, None], out[:, None],
                       self.attn.init("attn_block_inputs", self_params=params, **inputs))
        return out if self.family.scope == "block" else out - x


class Case:
    """What a layer got, what it made of that, and the encoder's output beside it."""

    def __init__(self, layer, x, want, encoded, lengths):
        self.layer, self.attn, self.x, self.want, self.lengths = layer, layer.attn, x, want, lengths
        self.encoded = encoded

    def live(self, array):
        return np.concatenate([array[b, :n] for b, n in enumerate(self.lengths)])

    def cross(self):
        return {} if self.encoded is None else {"encoded": self.attn.view(self.encoded[:, None])}

    def by_counts(self):
        return self.live(self.layer.run(self.x, self.layer.params(), counts=self.attn.int64(self.lengths),
                                        **self.cross()))

    def by_mask(self):
        keep = np.arange(self.x.shape[1])[None] < np.array(self.lengths)[:, None]
        mask = self.attn.view(np.ascontiguousarray(keep[:, None, None]))
        return self.live(self.layer.run(self.x, self.layer.params(key_mask=mask, polarity=self.attn.c.ATTN_KEEP),
                                        **self.cross()))

    def ragged(self):
        starts = self.attn.int64(np.cumsum((0, *self.lengths)))
        cross = {}
        if self.encoded is not None:
            B, Te, width = self.encoded.shape
            cross = dict(encoded=self.attn.view(self.encoded.reshape(1, 1, B * Te, width)),
                         cross_params=self.attn.init("attn_sdpa_params",
                                                     key_starts=self.attn.int64(np.arange(B + 1) * Te)))
        return self.layer.run(self.live(self.x)[None], self.layer.params(), sequences=len(self.lengths), starts=starts,
                              **cross)[0]

    def cache(self, heads, width, capacity):
        return self.attn.create("cache", batch=len(self.lengths), capacity=capacity, kv_heads=heads, head_width=width)

    def in_steps(self):
        layer, B = self.layer, len(self.lengths)
        inputs = dict(cache=self.cache(layer.G, layer.D, 16))
        if self.encoded is not None:
            inputs["encoded_cache"] = self.cache(layer.G, layer.D, self.encoded.shape[1])
            self.attn.call("attn_block_encode", layer.block, self.encoded[:, None], inputs["encoded_cache"], None)
        out, done = np.full_like(self.x, np.nan), np.zeros(B, int)
        for counts in STEPS:
            x = np.full((B, max(counts), self.x.shape[2]), 7, np.float32)
            for b, n in enumerate(counts):
                x[b, :n] = self.x[b, done[b]:done[b] + n]
            y = layer.run(x, layer.params(), counts=self.attn.int64(counts), **inputs)
            for b, n in enumerate(counts):
                out[b, done[b]:done[b] + n] = y[b, :n]
            done += counts
        return self.live(out)

    def errors(self):
        """The largest of each way, over what is allowed."""
        want = self.live(self.want)
        ways = [self.by_counts, self.by_mask, self.ragged]
        if self.layer.family.kind in ("causal", "decoder"):
            ways.append(self.in_steps)
        for way in ways:
            error = np.abs(way() - want) / (1 + np.abs(want)) / ALLOWED
            yield way.__name__, float("inf") if not np.isfinite(error).all() else float(error.max())


class Windows:
    """The same of an image in windows, each a sequence, shifted or not."""

    def __init__(self, layer, x, want):
        self.layer, self.x, self.want = layer, self.cut(layer, x), self.cut(layer, want)
        side, shift = int(x.shape[1] ** 0.5), layer.options["shift"]
        region = np.digitize(np.arange(side), (side - layer.options["rows"], side - shift)) if shift else np.zeros(side)
        regions = np.tile((3 * region[:, None] + region).reshape(1, -1, 1), (x.shape[0], 1, 1))
        of = self.cut(layer, regions, roll=False)[..., 0]
        self.mask = np.ascontiguousarray((of[:, :, None] == of[:, None])[:, None])

    @staticmethod
    def cut(layer, x, roll=True):
        """[B,T,M] as [B·windows, T/windows, M]."""
        rows, shift, side = layer.options["rows"], layer.options["shift"], int(x.shape[1] ** 0.5)
        image = x.reshape(x.shape[0], side, side, -1)
        image = np.roll(image, (-shift, -shift), (1, 2)) if roll else image
        cells = image.reshape(-1, side // rows, rows, side // rows, rows, image.shape[-1]).swapaxes(2, 3)
        return np.ascontiguousarray(cells.reshape(-1, rows * rows, image.shape[-1]))

    def errors(self):
        mask = self.layer.attn.view(self.mask)
        got = self.layer.run(self.x, self.layer.params(mask=mask, polarity=self.layer.attn.c.ATTN_KEEP))
        error = np.abs(got - self.want) / (1 + np.abs(self.want)) / ALLOWED
        yield "windows", float("inf") if not np.isfinite(error).all() else float(error.max())


def inputs_of(family, config):
    """What the model is called with, and the lengths of its sequences."""
    random = torch.Generator().manual_seed(1)
    T = max(LENGTHS)
    ids = torch.randint(4, 64, (len(LENGTHS), T), generator=random)
    keep = (torch.arange(T)[None] < torch.tensor(LENGTHS)[:, None]).long()
    if family.folder == "whisper":
        sound = torch.randn(len(LENGTHS), 8, 40, generator=random)
        given = dict(input_features=sound, decoder_input_ids=ids, decoder_attention_mask=keep)
        return given, LENGTHS if family.part == "decoder" else None
    if family.part == "decoder" and family.kind == "decoder":
        return dict(input_ids=ids[:, :6], decoder_input_ids=ids, decoder_attention_mask=keep), LENGTHS
    if family.part == "encoder":
        return dict(input_ids=ids, attention_mask=keep, decoder_input_ids=ids[:, :3]), LENGTHS
    if family.kind in ("image", "windows"):
        return dict(pixel_values=torch.randn(2, 3, 16, 16, generator=random)), None
    if family.kind == "sound":
        return dict(input_values=torch.randn(2, 60, generator=random)), None
    return dict(input_ids=ids, attention_mask=keep), LENGTHS


def hidden_of(arguments, keywords):
    return arguments[0] if arguments else keywords["hidden_states"]


def listen(model, family, number, heard):
    """Notes what a layer, or its attention, gets and gives."""
    name = family.layers.replace("N", str(number))
    module = model.get_submodule(name if family.scope == "block" else name + ".self_attn")

    def note(_, arguments, keywords, output):
        output = output[0] if isinstance(output, (tuple, list)) else output
        heard.setdefault(number, (as_floats(hidden_of(arguments, keywords)), as_floats(output)))

    module.register_forward_hook(note, with_kwargs=True)


def cases_of(attn, family):
    torch.manual_seed(0)
    config = getattr(transformers, family.config)(**family.sizes)
    config._attn_implementation = family.attention
    model = getattr(transformers, family.model)(config).float().eval()
    state = weights_of(model)
    given, lengths = inputs_of(family, config)
    heard = {}
    for number in range(LAYERS):
        listen(model, family, number, heard)
    with torch.no_grad():
        result = model(**given, **({"use_cache": False} if family.kind in ("causal", "decoder") else {}))
    encoded = as_floats(result.encoder_last_hidden_state) if family.kind == "decoder" else None
    for number in range(LAYERS):
        x, want = heard[number]
        x, want = (a.reshape(-1, *a.shape[-2:]) for a in (x, want))
        layer = Layer(attn, family, config, state, number)
        if family.kind == "windows":
            yield Windows(layer, x, want)
        else:
            yield Case(layer, x, want, encoded, lengths or (x.shape[1],) * x.shape[0])


def run(attn, family):
    """The largest error, over what is allowed, and where it is."""
    return max((error, f"layer {number}, {way}") for number, case in enumerate(cases_of(attn, family))
               for way, error in case.errors())


def main():
    transformers.logging.set_verbosity_error()
    attn = libattn.Library(sys.argv[1], threads=2)
    chosen = [f for f in families.FAMILIES if f.title in sys.argv[2:] or f.folder in sys.argv[2:] or not sys.argv[2:]]
    good = 0
    for family in chosen:
        try:
            error, where = run(attn, family)
            good += error <= 1
            print(f"{family.title:<24} {error:8.3f} of what is allowed{'' if error <= 1 else ', ' + where + ': WRONG'}")
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, AssertionError, libattn.Error) as error:
            print(f"{family.title:<24} failed: {type(error).__name__}: {str(error)[:300]}")
    page = pathlib.Path(__file__).resolve().parents[2] / "docs" / "models.md"
    told = page.read_text(encoding="utf-8") == families.manual()
    print(f"{good} of {len(chosen)} families" + ("" if told else "; docs/models.md is not what families.py prints"))
    return 0 if good == len(chosen) and told else 1


if __name__ == "__main__":
    sys.exit(main())
