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
from transformers.models.deberta_v2 import modeling_deberta_v2

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
                p.normal_(0, p.shape[0 if reads_rows(parent_of(model, name), p) else -1] ** -0.5)
            elif "weight" in name or "lambda" in name:
                p.normal_(1, 0.2)
            else:
                p.normal_(0, 0.2)
    return {name: value.detach().float() for name, value in model.state_dict().items()}


def reads_rows(module, p):
    """Whether the matrix is [in, out], or [in, H, D]."""
    return "Conv1D" in type(module).__name__ or (p.dim() == 3 and p.shape[1:] == (families.H, families.D))


def parent_of(model, name):
    return model.get_submodule(name.rpartition(".")[0])


def as_floats(tensor):
    return np.ascontiguousarray(tensor.detach().float().numpy())


REACH = 16  # of keys of places


def keys_of_xlnet(layer):
    """Sinusoids of distances, projected, and what is added to queries on their way to them."""
    frequencies = 10000 ** (-torch.arange(0, layer.M, 2) / layer.M)
    angles = torch.arange(-REACH, REACH + 1)[:, None] * frequencies
    r = torch.cat((angles.sin(), angles.cos()), 1) @ layer.tensor("place_k").T
    return r, None, layer.tensor("place_bias") - layer.tensor("q", "bias").reshape(layer.H, layer.D)


def keys_of_deberta(layer):
    """Of embeddings of distances, or of buckets of these."""
    rows, config = layer.state["encoder.rel_embeddings.weight"], layer.config
    distances, span = torch.arange(-REACH, REACH + 1), rows.shape[0] // 2
    if "layer_norm" in getattr(config, "norm_rel_ebd", ""):
        norm = [layer.state[f"encoder.LayerNorm.{kind}"] for kind in ("weight", "bias")]
        rows = torch.nn.functional.layer_norm(rows, (layer.M,), *norm, layer.eps)
    if getattr(config, "position_buckets", 0):
        distances = modeling_deberta_v2.make_log_bucket_position(distances, config.position_buckets,
                                                                 config.max_position_embeddings).long()
    rows = rows[(distances + span).clamp(0, 2 * span - 1)]
    return *(torch.nn.functional.linear(rows, layer.tensor(role), layer.tensor(role, "bias"))
             for role in ("place_k", "place_q")), None


class Places:
    """An attn_score_fn: keys for distances i − j, which queries are multiplied by, and queries for keys."""

    def __init__(self, layer):
        keys, queries, self.bias = dict(xlnet=keys_of_xlnet, deberta=keys_of_deberta)[layer.options["places"]](layer)
        self.ffi = layer.attn.ffi
        self.of_q, self.of_k = (None if rows is None else rows.reshape(-1, layer.H, layer.D).transpose(0, 1).numpy()
                                for rows in (keys, queries))
        self.callback = self.ffi.callback("attn_score_fn", self.add)

    def floats(self, pointer, n):
        return np.frombuffer(self.ffi.buffer(pointer, 4 * n), np.float32)

    def add(self, _, tile):
        shape, blocks = (tile.queries, tile.keys), -(-tile.keys // tile.block)
        q = self.floats(tile.q, tile.queries * tile.width).reshape(tile.queries, tile.width)
        k = self.floats(tile.k, blocks * tile.width * tile.block).reshape(blocks, tile.width, tile.block)
        k = k.swapaxes(1, 2).reshape(-1, tile.width)[:tile.keys]
        scores = self.floats(tile.scores, (tile.queries - 1) * tile.stride + tile.keys)
        scores = np.lib.stride_tricks.as_strided(scores, shape, (4 * tile.stride, 4))
        place = tile.query + np.arange(tile.queries)[:, None] - tile.key - np.arange(tile.keys)[None]
        place = np.clip(place + REACH, 0, 2 * REACH)
        bias = 0 if self.bias is None else self.bias[tile.head].numpy()
        scores += tile.factor * np.einsum("id,ijd->ij", q + bias, self.of_q[tile.head][place])
        if self.of_k is not None:
            scores += tile.factor * np.einsum("jd,ijd->ij", k, self.of_k[tile.head][place])


class Layer:
    """A layer of a family: its weights, and the block of libattn that they make."""

    def __init__(self, attn, family, config, state, number):
        self.attn, self.family, self.config, self.state = attn, family, config, state
        self.prefix = family.layers.replace("N", str(number)) + "."
        self.options = family.of(config, number)
        self.M = next(getattr(config, n) for n in ("hidden_size", "d_model", "n_embd", "dim") if hasattr(config, n))
        self.H = families.H
        self.G = self.options.get("G") or getattr(config, "num_key_value_heads", None) or self.H
        self.D = self.options.get("head_dim") or getattr(config, "head_dim", None) or self.M // self.H
        self.E = self.options.get("value_width") or self.D
        self.eps = self.options.get("eps") or 1e-12
        self.places = Places(self) if self.options.get("places") else None
        self.block = self.make_block()

    def tensor(self, role, kind="weight"):
        """What the checkpoint has for a role, or None."""
        names = self.family.names
        if kind == "bias" and role + "_bias" in names:
            return self.state[self.prefix + names[role + "_bias"]].reshape(-1)
        if names.get(role) is None:
            return None
        found = self.state.get(f"{self.prefix}{names[role]}.{kind}")
        if found is None and kind == "weight":
            found = self.state.get(self.prefix + names[role])
        if found is None or found.dim() < 3:
            return found
        return found.flatten(1) if role == "out" else found.flatten(1).T  # [M, H, D]

    def floats(self, tensor):
        return None if tensor is None else self.attn.floats(as_floats(tensor))

    def norm(self, role):
        weight, bias = self.tensor(role), self.tensor(role, "bias")
        plain = self.options.get("plain_norms") and role in ("self_norm", "feed_norm")
        if weight is None and not plain:
            return None
        kind = self.attn.c.ATTN_LAYER_NORM if self.options["norm"] == "layer" else self.attn.c.ATTN_RMS_NORM
        weight = None if weight is None else weight + self.options.get("unit", 0)
        eps = self.options["latent_eps"] if "latent" in role else self.eps
        if "latent" in role and self.options.get("latents_scaled"):
            weight = weight * (self.M / weight.numel()) ** 0.5
        return self.attn.init("attn_norm_params", kind=kind, eps=eps, weight=self.floats(weight),
                              bias=self.floats(bias))

    def fused(self, kind):
        """One matrix for q, k and v, or its bias, of which a checkpoint may have parts."""
        q, v = (self.tensor(role, kind) for role in "qv")
        if kind == "weight" or q is None or "qkv" not in self.family.names:
            return self.tensor("qkv", kind)
        q, v = (part.reshape(self.H, self.D) for part in (q, v))
        return torch.stack((q, torch.zeros_like(q), v), 1).flatten()

    def projections(self, prefix=""):
        fields = {}
        for kind in ("weight", "bias"):
            fused = None if prefix else self.fused(kind)
            parts = [self.tensor(prefix + role, kind) if fused is None else None for role in "qkv"]
            if fused is not None and self.options.get("split"):  # CodeGen's
                q, v, k = fused.reshape(4, 3, self.H // 4 * self.D, *fused.shape[1:]).unbind(1)
                fused, parts = None, [part.flatten(0, 1) for part in (q, k, v)]
            fields.update({f"{role}_{kind}": self.floats(part) for role, part in zip("qkv", parts)})
            fields[f"in_{kind}"] = self.floats(fused)
            fields[f"out_{kind}"] = self.floats(self.tensor(prefix + "out", kind))
        return fields

    def latents(self):
        if not self.options.get("latents"):
            return {}
        c = self.config
        fields = dict(q_latent=c.q_lora_rank, kv_latent=c.kv_lora_rank, shared_key_width=c.qk_rope_head_dim)
        for role in ("q_down", "kv_down", "kv_up"):
            fields[role + "_weight"] = self.floats(self.tensor(role))
        for role in ("q_down", "kv_down"):
            fields[role + "_bias"] = self.floats(self.tensor(role, "bias"))
        return {**fields, **{role: self.norm(role) for role in ("q_latent_norm", "kv_latent_norm")}}

    def extras(self):
        """What self-attention has beside projections."""
        return dict(self.latents(), qkv_order=1 if self.options.get("by_group") else 0, clip=self.options.get("clip"),
                    gate_in_q=1 if self.options.get("gate_in_q") else 0, out_norm=self.norm("out_norm"),
                    gate_weight=self.floats(self.tensor("gate_of_attention")))

    def attention(self, prefix=""):
        order = getattr(self.attn.c, "ATTN_" + self.options.get("order", "OUT_IN"))
        return self.attn.init("attn_mha_params", model_width=self.M, heads=self.H, kv_heads=self.G, head_width=self.D,
                              value_width=self.E, order=order, **self.projections(prefix),
                              **({} if prefix else self.extras()))

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
                              activation_params=params, order=order, hidden_norm=self.norm("hidden_norm"),
                              up_weight=self.floats(up),
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
        o, attn = self.options, self.attn
        of = o.get("rope")
        if of is None:
            return None
        width = o.get("rotary_width") or int(self.D * of.get("partial_rotary_factor", 1.0))
        kinds = dict(default=attn.c.ATTN_ROTARY_PLAIN, llama3=attn.c.ATTN_ROTARY_LLAMA3, yarn=attn.c.ATTN_ROTARY_YARN)
        kind = of.get("rope_type", "default")
        fields = dict(base=of["rope_theta"], scaling=kinds[kind])
        if kind != "default":
            fields.update(factor=of["factor"], original_positions=of["original_max_position_embeddings"])
        if kind == "llama3":
            fields.update(low_turns=of["low_freq_factor"], high_turns=of["high_freq_factor"])
        if kind == "yarn":
            fields.update(beta_fast=of["beta_fast"], beta_slow=of["beta_slow"], mscale=of.get("mscale"),
                          mscale_all_dim=of.get("mscale_all_dim"), no_truncate=0 if of.get("truncate", True) else 1)
        cos, sin = np.empty((2, 64, width // 2), np.float32)
        attn.call("attn_rotary_tables", 64, width, attn.init("attn_rotary_tables_params", **fields), attn.floats(cos),
                  attn.floats(sin))
        order = attn.c.ATTN_ROTARY_INTERLEAVED if o.get("interleaved") else attn.c.ATTN_ROTARY_HALF
        return attn.init("attn_rotary", kind=order, width=width, positions=64, cos=attn.floats(cos),
                         sin=attn.floats(sin), offset=self.D - width if o.get("latents") else 0)

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
                         score=self.places and self.places.callback,
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

    def cache(self, capacity):
        layer = self.layer
        shape = dict(kv_heads=layer.G, head_width=layer.D, value_width=layer.E)
        if layer.options.get("latents"):
            L = layer.config.kv_lora_rank
            shape = dict(kv_heads=1, head_width=L + layer.config.qk_rope_head_dim, latent_width=L)
        return self.attn.create("cache", batch=len(self.lengths), capacity=capacity, **shape)

    def in_steps(self):
        layer, B = self.layer, len(self.lengths)
        inputs = dict(cache=self.cache(16))
        if self.encoded is not None:
            inputs["encoded_cache"] = self.cache(self.encoded.shape[1])
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
    module = model.get_submodule(name if family.scope == "block" else f"{name}.{family.inner}")

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
        if family.options.get("tokens_first"):
            x, want = (np.ascontiguousarray(a.swapaxes(0, 1)) for a in (x, want))
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
