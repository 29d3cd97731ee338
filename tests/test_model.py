"""The VAE as a whole: what can see what, and what changes what."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from aurl.data.batches import TokenStore
from aurl.errors import ConfigError
from aurl.latent_config import LevelConfig
from aurl.model.latents import LatentLayout, Posterior, gaussian_kl
from aurl.model.layers import Block, rotated
from aurl.model.vae import Vae
from aurl.objectives.reconstruction import token_nll
from aurl.seeding import seeded
from tests.tiny import N_BARS, VOCABULARY, small_config, tiny_corpus


@pytest.fixture
def model() -> Vae:
    with seeded(0, "test"):
        return Vae(small_config(), VOCABULARY, N_BARS)


@pytest.fixture
def tokens() -> Tensor:
    store = TokenStore(tiny_corpus())
    return store.padded(torch.arange(6))


def test_changing_a_token_never_changes_logits_before_it(model: Vae, tokens: Tensor) -> None:
    z = torch.randn(len(tokens), model.layout.size, generator=torch.Generator().manual_seed(1))
    before = model.decode(tokens, z)
    for index in range(1, tokens.shape[1] - 1):
        changed = tokens.clone()
        changed[:, index] = torch.where(changed[:, index] == 70, 71, 70)
        after = model.decode(changed, z)
        # logits[:, i] are of token i + 1 and may depend on tokens up to i
        assert torch.equal(before[:, :index], after[:, :index])
        assert not torch.equal(before[:, index:], after[:, index:])


def test_prefix_logits_equal_full_logits(model: Vae, tokens: Tensor) -> None:
    z = torch.randn(len(tokens), model.layout.size, generator=torch.Generator().manual_seed(1))
    full = model.decode(tokens, z)
    for length in (2, 5, tokens.shape[1] - 3):
        torch.testing.assert_close(
            model.decode(tokens[:, :length], z), full[:, : length - 1], atol=1e-5, rtol=1e-5
        )


def test_the_nll_of_tokens_is_that_from_their_prefixes_alone(model: Vae, tokens: Tensor) -> None:
    model, pad = model.double(), VOCABULARY.pad
    z = torch.randn(len(tokens), model.layout.size, generator=torch.Generator().manual_seed(1))
    forced = token_nll(model.decode(tokens, z.double()), tokens[:, 1:], pad=pad).sum(dim=1)
    total = torch.zeros_like(forced)
    for index in range(1, tokens.shape[1]):
        prefix = tokens[:, :index]
        logits = model.decoder(prefix, z.double(), *VOCABULARY.positions(prefix))[:, -1:]
        total += token_nll(logits, tokens[:, index : index + 1], pad=pad)[:, 0]
    assert forced.min() > 10.0
    assert (total - forced).abs().max() < 1e-4


def test_padding_changes_nothing(model: Vae, tokens: Tensor) -> None:
    longer = torch.nn.functional.pad(tokens, (0, 16), value=VOCABULARY.pad)
    short, long = model.encode(tokens), model.encode(longer)
    torch.testing.assert_close(short.mean, long.mean)
    torch.testing.assert_close(short.log_var, long.log_var)
    nll = [
        token_nll(model.decode(t, short.mean), t[:, 1:], pad=VOCABULARY.pad).sum(1)
        for t in (tokens, longer)
    ]
    torch.testing.assert_close(nll[0], nll[1])


def test_a_bar_reaches_only_its_own_slots_and_the_coarser_levels(model: Vae) -> None:
    corpus = tiny_corpus()
    first, second = (torch.from_numpy(corpus.window(i).astype("int64")) for i in (0, 5))
    bars = [(row == VOCABULARY.bar).nonzero()[1, 0] for row in (first, second)]
    mixed = torch.cat([first[: bars[0]], second[bars[1] :]])  # bar 1 of one, bar 2 of the other
    one, other = model.encode(first[None]), model.encode(mixed[None])
    levels = model.layout.levels
    for level, a, b in zip(
        levels, model.layout.split(one.mean), model.layout.split(other.mean), strict=True
    ):
        half = level.n_slots // 2
        if level.n_slots > 1:
            torch.testing.assert_close(a[:, :half], b[:, :half])
        assert not torch.allclose(a[:, half:], b[:, half:], atol=1e-4), level.name


def test_a_bar_reaches_only_its_own_slots_where_spans_do_not_nest(tokens: Tensor) -> None:
    levels = [{"name": "bars", "dim": 2, "span": 1}, {"name": "thirds", "dim": 2, "span": 2 / 3}]
    with seeded(0, "odd spans"):
        model = Vae(small_config(latent__levels=levels), VOCABULARY, N_BARS)
    second = (VOCABULARY.positions(tokens)[0] == 1) & (tokens != VOCABULARY.pad)
    moved = torch.where(second & (tokens != VOCABULARY.bar), tokens.flip(0), tokens)
    with torch.no_grad():
        before, after = model.encode(tokens), model.encode(moved)
    bars, thirds = model.layout.split((before.mean - after.mean).abs())
    assert bars[:, 1].max() > 0.0
    assert bars[:, 0].max() == 0.0
    assert thirds[:, 0].max() == 0.0


@pytest.mark.parametrize("span", [1 / 3, 0.3333333, 0.3333334, 1 / 12])
def test_the_first_tick_of_a_slot_belongs_to_it(span: float) -> None:
    (level,) = LatentLayout.of([LevelConfig(name="beats", dim=1, span=span)], 64).levels
    bar, tick = torch.arange(64).repeat_interleave(72), torch.arange(72).repeat(64)
    slots = round(1.0 / span)
    found = level.slot(bar[None], (tick / 72)[None])[0]
    assert torch.equal(found, slots * bar + slots * tick // 72)


def test_music_after_the_last_bar_belongs_to_the_last_slot() -> None:
    (level,) = LatentLayout.of([LevelConfig(name="halves", dim=1, span=0.5)], 2).levels
    bar, phase = torch.tensor([[0, 1, 2, 3]]), torch.tensor([[0.0, 0.5, 0.0, 0.9]])
    assert level.slot(bar, phase).tolist() == [[0, 3, 3, 3]]


def test_the_latent_vector_is_levels_then_slots_then_dimensions() -> None:
    levels = [LevelConfig(name="all", dim=2), LevelConfig(name="bar", dim=3, span=1)]
    layout = LatentLayout.of(levels, 2)
    assert layout.dimension.tolist() == [0, 1, 2, 3, 4, 2, 3, 4]
    assert layout.level.tolist() == [0, 0, 1, 1, 1, 1, 1, 1]
    assert layout.dimension_names == ["all/0", "all/1", "bar/0", "bar/1", "bar/2"]
    _, bars = layout.split(torch.arange(8.0)[None])
    assert bars.tolist() == [[[2.0, 3.0, 4.0], [5.0, 6.0, 7.0]]]


def test_a_slot_without_tokens_reads_the_null_entry_and_nothing_else(
    model: Vae, tokens: Tensor
) -> None:
    level = model.layout.levels[2]
    slot = level.slot(*VOCABULARY.positions(tokens))
    read = (slot[:, :, None] == torch.arange(level.n_slots)) & (tokens != VOCABULARY.pad)[
        ..., None
    ]
    empty = ~read.any(dim=1)
    assert empty.sum() > 1

    def codes() -> Tensor:
        return model.layout.split(model.encode(tokens).mean)[2]

    pooling = model.encoder.pooling[2]
    with torch.no_grad():
        before = codes()
        pooling.get_parameter("null").add_(1.0)
        moved = (codes() - before).abs().amax(dim=-1)
    assert (before[empty] - before[empty][0]).abs().max() < 1e-6
    assert moved[empty].min() > 1e-3


def test_log_variances_stay_where_their_exponentials_are_harmless(
    model: Vae, tokens: Tensor
) -> None:
    for bias, bound in ((-100.0, -12.0), (100.0, 6.0)):
        with torch.no_grad():
            for pooling in model.encoder.pooling:
                pooling.get_parameter("head.bias").fill_(bias)
            assert (model.encode(tokens).log_var == bound).all()


def test_a_code_is_told_in_its_slot_and_ahead_in_the_one_before(model: Vae) -> None:
    layout, told = model.layout, model.decoder.latent.told
    before = told(torch.zeros(1, layout.size))
    for index, level in enumerate(layout.levels):
        for slot in range(level.n_slots):
            z = torch.zeros(1, layout.size)
            layout.split(z)[index][:, slot] = 1.0
            changed = [(a != b).any(dim=-1) for a, b in zip(told(z), before, strict=True)]
            here = torch.arange(level.n_slots)
            expected = (here == slot) | (here == slot - 1)
            assert torch.equal(changed[index], expected.expand_as(changed[index]))
            assert not any(other.any() for i, other in enumerate(changed) if i != index)


def test_rotary_positions_turn_each_pair_by_its_place(rng: torch.Generator) -> None:
    x = torch.randn(1, 5, 2, 8, generator=rng)
    angles = torch.arange(3.0, 8.0)[:, None] * 10000.0 ** (-torch.arange(4) / 4)
    turned = torch.complex(x[..., :4], x[..., 4:]) * torch.exp(1j * angles)[:, None]
    torch.testing.assert_close(rotated(x, 3), torch.cat([turned.real, turned.imag], dim=-1))


def test_weights_begin_as_wide_as_their_inputs_are_many_and_write_little_to_the_stream() -> None:
    with seeded(0, "test"):
        decoder = Vae(small_config(model__d_model=64), VOCABULARY, N_BARS).decoder
    blocks = [block for block in decoder.blocks if isinstance(block, Block)]
    writing = {id(block.attention.output.weight) for block in blocks}
    writing |= {id(block.feed_forward[-1].weight) for block in blocks}
    for name, weight in decoder.named_parameters():
        if weight.numel() > 4000:
            factor = (2 * len(blocks)) ** -0.5 if id(weight) in writing else 1.0
            expected = factor * weight.shape[-1] ** -0.5
            assert weight.std().item() == pytest.approx(expected, rel=0.05), name


def test_the_latent_reaches_every_token(model: Vae, tokens: Tensor) -> None:
    z = torch.zeros(len(tokens), model.layout.size)
    moved = z.clone()
    moved[:, : model.layout.levels[0].size] = 1.0
    difference = (model.decode(tokens, z) - model.decode(tokens, moved)).abs().amax(dim=-1)
    assert difference.min() > 1e-5


def test_every_parameter_receives_a_gradient(tokens: Tensor) -> None:
    with seeded(0, "test"):
        model = Vae(small_config(model__encoder_skip=0.5), VOCABULARY, N_BARS)
    noise = torch.randn(len(tokens), model.layout.size, generator=torch.Generator().manual_seed(0))
    output = model(tokens, noise, gate=0.5)
    nll = token_nll(output.logits, tokens[:, 1:], pad=VOCABULARY.pad).sum()
    posterior = output.posterior
    (nll + gaussian_kl(posterior.mean, posterior.log_var).sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_reported_kl_is_that_of_the_distribution_sampled(model: Vae, tokens: Tensor) -> None:
    posterior = model.encode(tokens)
    noise = torch.randn(20_000, model.layout.size, generator=torch.Generator().manual_seed(0))
    mean, log_var = posterior.mean[:1], posterior.log_var[:1] - 1.0  # far from a width of 1
    z = Posterior(mean, log_var).sample(noise)
    log_q = torch.distributions.Normal(mean, (0.5 * log_var).exp()).log_prob(z).sum(1)
    log_p = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    exact = gaussian_kl(mean, log_var).sum()
    assert (log_q - log_p).mean().item() == pytest.approx(exact.item(), rel=0.02)


def test_token_dropout_hides_tokens_from_the_decoder_only(model: Vae, tokens: Tensor) -> None:
    noise = torch.zeros(len(tokens), model.layout.size)
    keep = torch.ones_like(tokens[:, :-1], dtype=torch.bool)
    whole = model(tokens, noise)
    assert torch.equal(model(tokens, noise, keep).logits, whole.logits)
    keep[:, 4] = False
    hidden = model(tokens, noise, keep)
    assert torch.equal(hidden.posterior.mean, whole.posterior.mean)
    assert torch.equal(hidden.logits[:, :4], whole.logits[:, :4])
    assert not torch.equal(hidden.logits[:, 4:], whole.logits[:, 4:])


def test_the_encoder_skip_is_open_in_training_and_nowhere_else(tokens: Tensor) -> None:
    model = Vae(small_config(model__encoder_skip=0.5), VOCABULARY, N_BARS)
    noise = torch.zeros(len(tokens), model.layout.size)
    z = model.encode(tokens).mean
    evaluated = model.decode(tokens, z)
    open_, half, closed = (model(tokens, noise, gate=gate).logits for gate in (1.0, 0.5, 0.0))
    assert torch.equal(closed, evaluated)
    assert not torch.equal(open_, closed)
    assert not torch.equal(open_, half)

    def first_logits_after_a_later_change(gate: float) -> Tensor:
        """The answer leaks through an open skip: the encoder has read what comes."""
        changed = tokens.clone()
        changed[:, 6] = torch.where(changed[:, 6] == 70, 71, 70)
        places = VOCABULARY.positions(changed)
        _, states = model.encoder(changed, changed != VOCABULARY.pad, *places)
        bar, phase = (place[:, :-1] for place in VOCABULARY.positions(tokens))
        skipped = gate * states[:, :-1]
        return model.decoder(tokens[:, :-1], z, bar, phase, skipped=skipped)[:, :5]

    assert not torch.equal(first_logits_after_a_later_change(1.0), open_[:, :5])
    assert torch.equal(first_logits_after_a_later_change(0.0), evaluated[:, :5])


def test_a_model_without_a_skip_has_no_weights_for_it(model: Vae, tokens: Tensor) -> None:
    assert not any("skip" in name for name in model.state_dict())
    noise = torch.zeros(len(tokens), model.layout.size)
    assert torch.equal(model(tokens, noise, gate=1.0).logits, model(tokens, noise).logits)


@pytest.mark.parametrize("dims", [(4, 0, 0), (0, 3, 0), (0, 0, 2), (4, 3, 2)], ids=str)
def test_any_level_may_be_left_out(dims: tuple[int, int, int], tokens: Tensor) -> None:
    keys = ("global", "local", "fine")
    levels = [
        {"name": key, "dim": dim, "span": span}
        for key, dim, span in zip(keys, dims, ("sequence", 1, 0.5), strict=True)
    ]
    model = Vae(small_config(latent__levels=levels), VOCABULARY, N_BARS)
    assert model.layout.size == dims[0] + 2 * dims[1] + 4 * dims[2]
    noise = torch.zeros(len(tokens), model.layout.size)
    assert model(tokens, noise).logits.isfinite().all()


def test_more_spans_than_encoder_layers_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"encoder_layers must be at least .* encoder_layers=2"):
        Vae(small_config(model__encoder_layers=2), VOCABULARY, N_BARS)


@pytest.mark.parametrize("span", [1e-9, 5e-324])
def test_a_span_of_more_slots_than_memory_is_refused(span: float) -> None:
    levels = [LevelConfig(name="dust", dim=2, span=span)]
    with pytest.raises(ConfigError, match=r"latent\.levels\.dust\.span must leave at most 65536"):
        LatentLayout.of(levels, N_BARS)


def test_a_span_that_does_not_divide_the_window_is_refused() -> None:
    levels = [{"name": "odd", "dim": 2, "span": 0.7}]
    with pytest.raises(ConfigError, match=r"latent\.levels\.odd\.span must divide .* got 0\.7"):
        Vae(small_config(latent__levels=levels), VOCABULARY, N_BARS)


def test_a_batch_of_one_trains(model: Vae, tokens: Tensor) -> None:
    output = model(tokens[:1], torch.zeros(1, model.layout.size))
    output.logits.sum().backward()
    assert output.logits.shape[0] == 1


def test_an_outline_does_not_wait_for_torchs_compiler() -> None:
    """It is imported by some operations on tensors without values, and takes seconds."""
    code = (
        "import sys\n"
        "from aurl.model.vae import outline\n"
        "from tests.tiny import small_config, tiny_corpus\n"
        "corpus = tiny_corpus()\n"
        "for kind in ('standard', 'mixture', 'planar', 'spline'):\n"
        "    config = small_config(latent__prior__kind=kind, latent__top_down=True)\n"
        "    outline(config, corpus.vocabulary, corpus.n_bars)\n"
        "print('torch._dynamo' in sys.modules)"
    )
    root = Path(__file__).parents[1]
    told = subprocess.check_output([sys.executable, "-c", code], cwd=root, text=True)
    assert told == "False\n"
