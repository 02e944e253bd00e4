"""Teacher of CLIP on a small random model: gradients, competing texts, affinity, invalid models."""

import logging
import sys
from functools import partial

import numpy as np
import pytest
import torch

from colocam.runtime.errors import UserError
from colocam.teachers import clip_maps
from colocam.teachers.clip_maps import ClipTeacher, affinity, gradient_weighted, refined
from colocam.teachers.clip_model import load_clip, prepared

open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed (extra clip)")
SIDE, PATCH, WIDTH = 32, 8, 32
CLASSES = ("cat", "dog")
WORDS = {"cat": ("cat",), "dog": ("dog", "puppy")}
OF_IMAGES = {"layers": 2, "width": WIDTH, "head_width": 16, "patch_size": PATCH}
OFF = partial(torch.autocast, "cpu", torch.bfloat16, enabled=False)


def small_clip(**vision):
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    torch.manual_seed(0)
    model = CLIP(
        16,
        CLIPVisionCfg(**OF_IMAGES | {"image_size": SIDE} | vision),
        CLIPTextCfg(width=16, heads=2, layers=1),
    )
    with torch.no_grad():
        for parameter in model.visual.transformer.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module")
def clip():
    return prepared(small_clip(), open_clip.get_tokenizer("ViT-B-16"), "small")


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (3, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)


def teacher_of(clip, autocast=OFF, **changes):
    return ClipTeacher(
        clip, CLASSES, WORDS, device=torch.device("cpu"), autocast=autocast, **changes
    )


LABELS = torch.tensor([0, 1, 1])


def test_maps_are_in_0_to_1_at_the_resolution_of_the_patches(clip, images):
    maps = teacher_of(clip).maps(images, LABELS)
    assert maps.shape == (3, SIDE // PATCH, SIDE // PATCH)
    assert maps.min() >= 0
    assert maps.max() == pytest.approx(1)


def test_a_map_does_not_depend_on_the_other_frames_of_its_batch(clip, images):
    teacher = teacher_of(clip)
    alone = [teacher.maps(images[i : i + 1], LABELS[i : i + 1])[0] for i in range(3)]
    assert np.allclose(teacher.maps(images, LABELS), alone, atol=1e-4)


def test_unrefined_maps_are_gradcam_of_the_softmax_over_all_texts(clip, images):
    """Against finite differences of the probability by the tokens before the last attention."""
    teacher = teacher_of(clip, refine=False)
    texts, visual = teacher._texts, clip.model.visual
    assert len(texts) == len(CLASSES) + len(clip_maps.BACKGROUND)
    block = visual.transformer.resblocks[-1]
    inputs = ((images / 255 - teacher._mean) / teacher._std)[:1]
    shape = 1 + (SIDE // PATCH) ** 2, WIDTH
    steps = 1e-2 * torch.eye(shape[0] * WIDTH).unflatten(1, shape)  # one of every entry
    kept = {}

    def add(_, __, output):
        kept["tokens"] = output[:1]
        return output + kept["added"]

    def log_probability(added):
        kept["added"] = added
        with torch.no_grad():
            repeated = inputs.expand(len(added), -1, -1, -1)
            features = clip.model.encode_image(repeated, normalize=True).double()
        return (clip.model.logit_scale.exp().double() * features @ texts.T).log_softmax(1)[:, 0]

    hook = block.ln_1.register_forward_hook(add)
    try:
        gradient = (log_probability(steps) - log_probability(-steps)) / 2e-2
    finally:
        hook.remove()
    expected = gradient_weighted(kept["tokens"], gradient.view(1, *shape))[0].numpy()
    assert expected.any()
    assert np.allclose(teacher.maps(images, LABELS)[0], expected, atol=0.02)


def test_maps_keep_no_hooks_and_weights_no_gradients(clip, images):
    teacher_of(clip).maps(images, LABELS)
    for module in clip.model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert all(p.grad is None and not p.requires_grad for p in clip.model.parameters())


def test_half_precision_gives_about_the_same_maps(clip, images):
    half = teacher_of(clip, partial(torch.autocast, "cpu", torch.bfloat16), refine=False).maps(
        images, LABELS
    )
    assert np.abs(half - teacher_of(clip, refine=False).maps(images, LABELS)).mean() < 0.05


def test_a_background_word_that_is_a_tag_does_not_compete_with_it(clip):
    background = teacher_of(clip, background=("Dog", "grass", "puppy")).settings()["background"]
    assert background == ["grass"]


def test_features_of_prompts_and_words_are_averaged(clip):
    device = torch.device("cpu")
    teacher = teacher_of(clip, prompts=("a {}.", "{} there"), background=())
    each = [
        clip.text_feature([text], device)
        for text in ("a dog.", "a puppy.", "dog there", "puppy there")
    ]
    mean = torch.stack(each).mean(0)
    assert torch.allclose(teacher._texts[1], mean / mean.norm())


def test_the_affinity_is_symmetric_and_its_rows_sum_to_1():
    torch.manual_seed(0)
    found = affinity(torch.rand(2, 9, 9) + 0.01)
    assert torch.equal(found, found.mT)
    assert torch.allclose(found.sum(2), torch.ones(2, 9), atol=1e-3)


def test_refinement_spreads_a_map_within_the_boxes_of_its_strong_regions():
    maps = torch.zeros(1, 4, 4)
    maps[0, 0, 0] = maps[0, 1, 1] = 1
    maps[0, 3, 3] = 0.3
    even = torch.full((1, 16, 16), 1 / 16)
    (found,) = refined(maps, even)
    expected = torch.zeros(4, 4)
    expected[:2, :2] = 1
    assert torch.allclose(found, expected)


def test_a_map_without_evidence_is_0_everywhere():
    tokens = torch.ones(1, 5, 3)
    found = gradient_weighted(tokens, -torch.ones(1, 5, 3))
    assert not found.any()
    assert not refined(found, torch.full((1, 4, 4), 0.25)).any()


# ---- models


def test_weights_are_read_from_a_file(tmp_path, monkeypatch):
    model = small_clip()
    torch.save(model.state_dict(), tmp_path / "small.pt")
    config = {
        "embed_dim": 16,
        "vision_cfg": {**OF_IMAGES, "image_size": SIDE},
        "text_cfg": {"width": 16, "heads": 2, "layers": 1},
    }
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small", config)
    loaded = load_clip("small", tmp_path / "small.pt", None)
    assert loaded.side == SIDE
    assert torch.equal(loaded.model.visual.proj, model.visual.proj)
    larger = load_clip("small", tmp_path / "small.pt", 48)  # interpolated position embeddings
    assert larger.side == 48
    frame = torch.zeros(1, 3, 48, 48, dtype=torch.uint8)
    assert teacher_of(larger).maps(frame, LABELS[:1]).shape == (1, 6, 6)
    with pytest.raises(UserError, match="a multiple of 8"):
        load_clip("small", tmp_path / "small.pt", 50)
    (tmp_path / "bad.pt").write_bytes(b"no weights")
    with pytest.raises(UserError, match="not the weights of small") as error:
        load_clip("small", tmp_path / "bad.pt", None)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ViT-Q-9/openai", "no model 'ViT-Q-9'"),
        ("ViT-B-16/opnai", "ViT-B-16 has no weights 'opnai'; it has openai"),
        ("ViT-B-16:opnai", "ViT-B-16 has no weights 'opnai'; it has openai"),
        ("ViT-B-16", "name its weights, as in clip:ViT-B-16/openai"),
    ],
)
def test_an_unknown_model_is_named(name, said):
    with pytest.raises(UserError) as error:
        load_clip(name, None, None)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_weights_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"--weights .*none\.pt: no such file"):
        load_clip("ViT-B-16/openai", tmp_path / "none.pt", None)


def test_a_failed_download_is_one_line(monkeypatch, caplog):
    def fails(*_, **__):
        logging.error("no connection")
        raise RuntimeError("no connection. It is down\nat all")

    monkeypatch.setattr(open_clip, "create_model", fails)
    with pytest.raises(UserError) as error:
        load_clip("ViT-B-16/openai", None, None)
    assert "cannot be loaded (no connection)" in str(error.value)
    assert "--weights FILE" in str(error.value)
    assert not caplog.records


@pytest.mark.parametrize(
    ("vision", "said"),
    [
        ({"attentional_pool": True, "attn_pooler_heads": 2}, "needs a vision transformer"),
        ({"image_size": (32, 48)}, "must be square"),
    ],
)
def test_an_unsupported_model_is_named(vision, said):
    with pytest.raises(UserError, match=said):
        prepared(small_clip(**vision), None, "small")


def test_a_missing_package_is_one_line_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(UserError, match=r"needs open_clip; pip install 'colocam\[clip\]'"):
        load_clip("ViT-B-16/openai", None, None)
