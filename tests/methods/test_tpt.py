from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from apm_tta.data.cards import load_card
from apm_tta.data.task import Family, Task
from apm_tta.errors import UserError
from apm_tta.methods import METHODS, Batch, build_parameters
from apm_tta.methods.tpt import Tpt
from apm_tta.teachers import Teacher
from apm_tta.teachers.support_features import SupportedTeacher

CLASSES = load_card("fashion-mnist").class_list.names
TASK = Task(CLASSES, crop_scale=(0.5, 1.0))


def build(teacher: Teacher, memory: int | None = None, task: Task = TASK, **settings: Any) -> Tpt:
    method = METHODS.get("tpt")(teacher, task, build_parameters("tpt", settings), 0, memory)
    assert isinstance(method, Tpt)
    return method


def part(batch: Batch, *indices: int) -> Batch:
    return Batch(tuple(batch.ids[i] for i in indices), tuple(batch.images[i] for i in indices))


def predict(method: Tpt, batch: Batch) -> Tensor:
    with torch.no_grad():
        return method.predict(Batch(batch.ids, batch.images)).logits


class ByHand:
    """TPT for one image as in section 3 of the paper, through open_clip's own modules."""

    def __init__(self, teacher: Any, context: str = "a photo of a", tokens: int = 4) -> None:
        self.model = copy.deepcopy(teacher.built.model)
        self.tokens = teacher.built.tokenizer([f"{context} {name}." for name in CLASSES])
        self.words = self.model.token_embedding.weight[self.tokens]
        self.context_end = 1 + tokens

    def text(self, context: Tensor) -> Tensor:
        model = self.model
        prompts = [torch.cat([one[:1], context, one[self.context_end :]]) for one in self.words]
        hidden = model.transformer(torch.stack(prompts) + model.positional_embedding, attn_mask=model.attn_mask)
        hidden = model.ln_final(hidden)
        ends = [row.tolist().index(49407) for row in self.tokens]
        rows = torch.stack([one[end] @ model.text_projection for one, end in zip(hidden, ends, strict=True)])
        return rows / rows.norm(dim=1, keepdim=True)

    def answer(
        self, pixels: Tensor, kept: int, steps: int = 1, rate: float = 5e-3, select_again: bool = False
    ) -> Tensor:
        with torch.no_grad():
            image = self.model.encode_image(pixels)
            image /= image.norm(dim=1, keepdim=True)
        context = self.words[0, 1 : self.context_end].clone().requires_grad_()
        optimizer = torch.optim.AdamW([context], lr=rate)
        kept_views: list[int] = []
        for _ in range(steps):
            probabilities = (self.model.logit_scale.exp() * image @ self.text(context).T).softmax(1)
            unsure = torch.special.entr(probabilities).sum(1).tolist()
            if select_again or not kept_views:
                kept_views = sorted(range(len(unsure)), key=unsure.__getitem__)[:kept]
            mean = probabilities[kept_views].mean(0)
            optimizer.zero_grad()
            torch.special.entr(mean).sum().backward()
            optimizer.step()
        return (self.model.logit_scale.exp() * image[0] @ self.text(context).T).detach()


def test_a_step_is_that_of_the_paper(embedded_teacher: Teacher, embedded_batch: Batch) -> None:
    """Two of 20 views are kept, a tenth; everything else is the method's default."""
    batch = part(embedded_batch, 0, 1, 2, 3)
    method, by_hand = build(embedded_teacher, views=20), ByHand(embedded_teacher)
    ours = predict(method, batch)
    expected = torch.stack(
        [by_hand.answer(method.view_pixels(batch, index, method.spec), kept=2) for index in range(4)]
    )
    torch.testing.assert_close(ours, expected, rtol=0, atol=2e-5)
    before = method.logits(method.features(batch))
    assert (ours - before).abs().amax(1).min() > 3e-4, "nothing moved"
    assert not ours.requires_grad


def test_views_are_selected_once(embedded_teacher: Teacher, embedded_batch: Batch) -> None:
    """Several steps are long enough to change which views are most confident: the first selection stays."""
    batch = part(embedded_batch, 4, 6, 7)
    method, by_hand = build(embedded_teacher, views=16, share=0.2, steps=4, learning_rate=0.5), ByHand(embedded_teacher)
    ours = predict(method, batch)
    changed = 0
    for index, answer in enumerate(ours):
        pixels = method.view_pixels(batch, index, method.spec)
        torch.testing.assert_close(answer, by_hand.answer(pixels, 3, steps=4, rate=0.5), rtol=0, atol=1e-3)
        anew = by_hand.answer(pixels, 3, steps=4, rate=0.5, select_again=True)
        changed += bool((anew - answer).abs().max() > 0.02)
    assert changed > 0, "no image for which selecting again would make a difference"


def test_the_context_is_four_tokens_before_the_class_name(embedded_teacher: Teacher) -> None:
    method = build(embedded_teacher)
    assert method.resolved_parameters() == {"crop_scale": [0.5, 1.0], "context_tokens": 4}
    assert not method.parameters.augmix
    tokens: Any = embedded_teacher.built.tokenizer(["a photo of a"])[0, 1:5]  # type: ignore[attr-defined]
    assert (method.tokens[:, 1:5] == tokens).all()
    assert torch.equal(method.context, embedded_teacher.built.model.token_embedding(tokens))  # type: ignore[attr-defined]
    assert method.spec.count == 64
    assert (method.cost().image_forwards, method.cost().image_backwards) == (64, 0)
    assert (method.cost().text_forwards, method.cost().text_backwards) == (2, 1)


def test_another_context_is_tuned_likewise(embedded_teacher: Teacher, embedded_batch: Batch) -> None:
    """With two tokens the prediction is that of two tokens by hand, not that of four."""
    batch = part(embedded_batch, 0)
    method = build(embedded_teacher, context="blurry picture", views=8)
    assert method.resolved_parameters()["context_tokens"] == 2
    expected = ByHand(embedded_teacher, "blurry picture", 2).answer(method.view_pixels(batch, 0, method.spec), kept=1)
    torch.testing.assert_close(predict(method, batch)[0], expected, rtol=0, atol=2e-5)
    assert (predict(build(embedded_teacher, views=8), batch)[0] - expected).abs().max() > 0.01


def test_prompt_and_optimiser_are_reset_between_images(embedded_teacher: Teacher, embedded_batch: Batch) -> None:
    method = build(embedded_teacher, views=8)
    context = method.context.clone()
    both = predict(method, part(embedded_batch, 0, 1))
    assert torch.equal(method.context, context)
    torch.testing.assert_close(predict(method, part(embedded_batch, 1))[0], both[1], rtol=0, atol=1e-5)
    torch.testing.assert_close(
        predict(build(embedded_teacher, views=8), part(embedded_batch, 1))[0], both[1], rtol=0, atol=1e-5
    )


def bytes_of_a_prompt(method: Tpt) -> int:
    """Return the bytes that ``Tpt`` assumes a prompt of the embedded teacher (2 layers, 4 heads, 64 wide) to keep."""
    length = method.tokens.shape[1]
    return int(4 * 1.5 * 2 * length * (17 * 64 + 2 * 4 * length))


@pytest.mark.parametrize("prompts", [1, 3, 10, 25])
def test_memory_changes_no_answer_and_bounds_what_is_encoded_together(
    prompts: int, embedded_teacher: Teacher, embedded_batch: Batch
) -> None:
    """There is room for one prompt, for three classes of an image, for one whole image, or for two images."""
    batch = part(embedded_batch, 0, 1, 2)
    ample = build(embedded_teacher, views=8)
    method = build(embedded_teacher, (prompts * bytes_of_a_prompt(ample)) + 100, views=8)
    sizes = []
    method.tower = copy.copy(method.tower)  # the teacher's own is every test's
    encode = method.tower.encode

    def counted(embedded: Tensor, tokens: Tensor) -> Tensor:
        sizes.append(len(embedded))
        return encode(embedded, tokens)

    method.tower.encode = counted  # type: ignore[method-assign]
    ours = predict(method, batch)
    assert max(sizes) == {1: 1, 3: 3, 10: 10, 25: 20}[prompts]
    torch.testing.assert_close(ours, predict(ample, batch), rtol=0, atol=1e-5)


def test_no_memory_at_all_is_one_prompt_at_a_time(embedded_teacher: Teacher) -> None:
    assert build(embedded_teacher, 1)._prompts_at_once() == 1


def test_the_memory_of_a_prompt_is_within_the_estimate(embedded_teacher: Teacher) -> None:
    """The tensors that autograd actually keeps are compared with the estimate that the budget is divided by."""
    method = build(embedded_teacher)
    held: dict[int, int] = {}
    of_the_model = {p.untyped_storage().data_ptr() for p in embedded_teacher.built.model.parameters()}  # type: ignore[attr-defined]

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in of_the_model:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    context = method.context[None].clone().requires_grad_()
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        weights = method.weights(context)
    assert weights.requires_grad
    share = sum(held.values()) / (len(CLASSES) * bytes_of_a_prompt(method))
    assert 0.25 < share < 1


@pytest.mark.parametrize(("family", "augmix"), [("imagenet", False), ("fine-grained", True), ("other", False)])
def test_views_go_through_augmix_for_the_fine_grained_sets(
    family: Family, augmix: bool, embedded_teacher: Teacher, stated: Any
) -> None:
    task = Task(CLASSES, family=family)
    method, other = build(embedded_teacher, task=task), build(embedded_teacher, task=task, augmix=not augmix)
    assert stated(method)["augmix"] is method.spec.augmix is augmix
    assert stated(other)["augmix"] is other.spec.augmix is not augmix


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"context": ""}, "context"),
        ({"share": 0}, "share"),
        ({"share": 1.5}, "share"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"steps": 0}, "steps"),
        ({"views": 0}, "views"),
        ({"context": " "}, "no token of its own"),
        ({"context": "a very " * 20 + "long one"}, "no room"),
    ],
)
def test_wrong_parameters_are_refused(settings: dict[str, Any], message: str, embedded_teacher: Teacher) -> None:
    with pytest.raises(UserError, match=message) as refused:
        build(embedded_teacher, **settings)
    assert refused.value.exit_code == 2


def test_class_weights_from_elsewhere_are_refused(supported_teacher: Any) -> None:
    """Otherwise prompts would be tuned, and the requested prototypes ignored."""
    prototypes = SupportedTeacher(supported_teacher._teacher, supported_teacher.support, "prototypes")
    with pytest.raises(
        UserError, match=r"method tpt needs class weights from a text tower; .* its prototypes"
    ) as refused:
        build(prototypes)
    assert refused.value.exit_code == 2


def test_a_teacher_without_a_text_tower_is_refused(stub_teacher: Any, batch_norm_encoder: Any) -> None:
    with pytest.raises(UserError, match="stub has no text tower") as refused:
        build(stub_teacher(batch_norm_encoder))
    assert refused.value.exit_code == 2
