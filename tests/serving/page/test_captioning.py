"""Images on the page: they are added and captioned, or show what went wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from support.bulk.stub_captioner import poison
from support.serving.browser import add, captions, image_files, wait_ended
from support.serving.live_server import LiveServer
from support.serving.pictures import encoded, picture, png, stub_caption

pytestmark = pytest.mark.slow

_DROP = """([bytes, kind]) => {
  const transfer = new DataTransfer();
  bytes.forEach((one, place) => transfer.items.add(
    new File([new Uint8Array(one)], `dropped-${place}.png`, {type: 'image/png'})));
  const event = kind === 'paste'
    ? new ClipboardEvent('paste', {clipboardData: transfer, bubbles: true, cancelable: true})
    : new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true});
  document.body.dispatchEvent(event);
}"""


def test_a_picked_image_gets_the_models_caption_and_a_preview(page: Any) -> None:
    add(page, image_files([1]))
    assert captions(page) == [stub_caption(1)]
    page.wait_for_selector(".picture img")
    assert page.get_by_role("img", name="Preview of photo-1.png").is_visible()


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_images_are_dropped_and_pasted(page: Any, kind: str) -> None:
    page.evaluate(_DROP, [[list(png(1)), list(png(2))], kind])
    wait_ended(page, 2)
    assert captions(page) == [stub_caption(1), stub_caption(2)]


def test_a_hint_is_shown_while_images_are_dragged_over_the_page(page: Any) -> None:
    page.evaluate(_DROP, [[list(png(1))], "dragenter"])
    assert page.locator("#veil").is_visible()
    page.evaluate(_DROP, [[list(png(1))], "dragleave"])
    assert page.locator("#veil").is_hidden()


def test_fifty_images_are_sent_in_requests_of_at_most_sixteen(
    page: Any, page_server: LiveServer
) -> None:
    before = len(page_server.events("request"))
    add(page, image_files(range(60)), done=50)
    assert "10 images skipped: the page holds 50" in page.inner_text("#notice")
    assert captions(page) == [stub_caption(number) for number in range(50)]
    counts = [
        event["images"]
        for event in page_server.events("request")[before:]
        if event["path"] == "/v1/caption"
    ]
    assert sorted(counts) == [2, 16, 16, 16]


def test_a_broken_image_fails_only_on_its_own_card_with_advice(page: Any) -> None:
    broken = {"name": "bad.jpg", "mimeType": "image/jpeg", "buffer": b"\xff\xd8\xff\xe0 no image"}
    add(page, [broken, *image_files([3])])
    assert captions(page) == [stub_caption(3)]
    card = page.locator("#cards > li").first
    assert "No caption." in card.locator(".failure").inner_text()
    assert "save it again as JPEG or PNG" in card.locator(".advice").inner_text()
    assert page.inner_text("#progress") == "2 images · 1 captioned · 1 failed"


def test_files_that_are_not_images_are_named_in_a_notice(page: Any) -> None:
    text = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"words"}
    add(page, [text, *image_files([1])], done=1)
    assert page.inner_text("#notice") == "1 file is not an image."


def test_an_image_that_is_too_large_is_not_sent(
    page: Any, page_server: LiveServer, shots: Path
) -> None:
    before = len(page_server.events("request"))
    path = shots / "huge.png"
    path.write_bytes(png(1) + bytes(20_000_000))
    add(page, [path])
    assert "at most 20 MB" in page.inner_text(".advice")
    sent = [event["path"] for event in page_server.events("request")[before:]]
    assert "/v1/caption" not in sent


def test_a_format_without_a_preview_gets_a_caption(page: Any) -> None:
    image = encoded(picture(4), "TIFF")
    add(page, [{"name": "scan.tif", "mimeType": "image/tiff", "buffer": image}])
    assert captions(page) == [stub_caption(4)]
    page.wait_for_selector("text=No preview")


def test_edits_are_marked_and_can_be_undone(page: Any) -> None:
    add(page, image_files([1]))
    page.fill("textarea.caption", "a dog on a beach")
    assert page.locator(".badge.own").inner_text() == "Edited"
    page.click("text=Undo edits")
    assert captions(page) == [stub_caption(1)]
    assert page.locator(".badge.own").count() == 0


def test_a_caption_is_copied(open_page: Any, page_server: LiveServer) -> None:
    page = open_page(page_server, permissions=["clipboard-read", "clipboard-write"])
    add(page, image_files([2]))
    page.get_by_role("button", name="Copy the caption of photo-2.png").click()
    page.wait_for_selector("text=Copied")
    assert page.evaluate("navigator.clipboard.readText()") == stub_caption(2)


def test_an_alternative_replaces_the_caption_which_stays_in_the_list(page: Any) -> None:
    page.click("#open-settings")
    page.fill("#captions", "3")
    page.click("#settings-submit")
    add(page, image_files([1]))
    others = page.locator(".alternatives bdi").all_inner_texts()
    assert others == [f"{stub_caption(1)} of seed 1", f"{stub_caption(1)} of seed 2"]
    page.locator(".use").nth(1).click()
    assert captions(page) == [others[1]]
    assert page.locator(".alternatives bdi").all_inner_texts() == [others[0], stub_caption(1)]


def test_an_image_is_regenerated_with_its_own_settings(page: Any) -> None:
    add(page, image_files([1, 2]))
    page.get_by_role("button", name="Regenerate the caption of photo-2.png").click()
    page.check("#method-sample")
    page.fill("#seed", "5")
    page.fill("#prompt", "a photo of")
    page.click("#settings-submit")
    page.wait_for_selector("text=2 images · 2 captioned")
    wait_ended(page, 2)
    assert captions(page) == [stub_caption(1), f"a photo of {stub_caption(2)} of seed 5"]


def test_regenerating_keeps_an_edited_caption_among_the_alternatives(page: Any) -> None:
    add(page, image_files([1]))
    page.fill("textarea.caption", "my words")
    page.get_by_role("button", name="Regenerate the caption").click()
    page.fill("#prompt", "a photo of")
    page.click("#settings-submit")
    page.wait_for_selector(".alternatives")
    assert page.locator(".alternatives bdi").all_inner_texts() == ["my words"]


def test_page_settings_apply_to_images_added_later(page: Any) -> None:
    page.click("#open-settings")
    page.fill("#prompt", "a photo of")
    page.fill("#beams", "5")
    page.click("#settings-submit")
    page.locator("#settings-summary", has_text="5 beams").wait_for()
    add(page, image_files([1]))
    assert captions(page) == [f"a photo of {stub_caption(1)}"]


def test_settings_stay_while_another_model_is_being_loaded(page: Any) -> None:
    def say_that_two_loads(route: Any) -> None:
        answer = route.fetch()
        content = answer.json()
        content["data"][1]["ready"] = False
        route.fulfill(response=answer, json=content)

    page.route("**/v1/models", say_that_two_loads)
    page.reload()
    page.wait_for_selector("text=two is being loaded")
    page.click("#open-settings")
    page.fill("#beams", "5")
    page.click("#settings-submit")
    with page.expect_response("**/v1/models"):
        pass
    page.wait_for_timeout(200)
    assert "5 beams" in page.inner_text("#settings-summary")


@pytest.mark.parametrize(
    ("status", "text"), [(429, "The server is busy"), (503, "The model is starting")]
)
def test_a_busy_server_is_asked_again_after_the_time_in_its_answer(
    page: Any, status: int, text: str
) -> None:
    answers = iter([True])

    def refuse_once(route: Any) -> None:
        if next(answers, False):
            error = '{"schema": 1, "error": {"code": "queue_full", "message": "full"}}'
            route.fulfill(status=status, headers={"retry-after": "1"}, body=error)
        else:
            route.continue_()

    page.route("**/v1/caption", refuse_once)
    page.set_input_files("#files", image_files([1]))
    page.wait_for_selector(f"text={text}; trying again in 1 second")
    wait_ended(page, 1)
    assert captions(page) == [stub_caption(1)]


@pytest.mark.parametrize(("status", "code"), [(504, "deadline"), (413, "too_many_images")])
def test_a_group_that_takes_too_long_or_does_not_fit_in_the_queue_is_sent_in_halves(
    page: Any, page_server: LiveServer, status: int, code: str
) -> None:
    answers = iter([True])
    error = json.dumps({"schema": 1, "error": {"code": code, "message": "not like this"}})
    page.route(
        "**/v1/caption",
        lambda route: (
            route.fulfill(status=status, body=error) if next(answers, False) else route.continue_()
        ),
    )
    before = len(page_server.events("request"))
    add(page, image_files(range(12)))
    assert captions(page) == [stub_caption(number) for number in range(12)]
    sent = [event.get("images") for event in page_server.events("request")[before:]]
    # Three groups of four, the first in halves.
    assert sorted(count for count in sent if count) == [2, 2, 4, 4]


def test_a_server_that_cannot_be_reached_is_tried_again_by_hand(page: Any) -> None:
    page.route("**/v1/caption", lambda route: route.abort())
    add(page, image_files([1]))
    assert "The server cannot be reached" in page.inner_text(".failure")
    page.unroute("**/v1/caption")
    page.click("#retry-failed")
    page.wait_for_selector("[data-status=done]")
    assert captions(page) == [stub_caption(1)]


def test_an_answer_of_another_program_is_an_error_on_the_card(page: Any) -> None:
    page.route("**/v1/caption", lambda route: route.fulfill(body="<h1>Please sign in</h1>"))
    add(page, image_files([1]))
    assert "does not come from captune serve" in page.inner_text(".failure")


def test_a_large_model_that_loads_for_long_is_waited_for(page: Any) -> None:
    """As the notice says; a busy server is given up after eight tries."""
    refusals = iter(range(9))
    error = '{"schema": 1, "error": {"code": "not_ready", "message": "is being loaded"}}'
    page.route(
        "**/v1/caption",
        lambda route: (
            route.continue_()
            if next(refusals, None) is None
            else route.fulfill(status=503, headers={"retry-after": "0"}, body=error)
        ),
    )
    add(page, image_files([1]))
    assert captions(page) == [stub_caption(1)]


_SEND = """() => import('/page/api.js').then(async (api) => {
  const items = [...document.getElementById('own').files].map((file) => ({file}));
  const found = [];
  await api.captionImages(items, {model: null, num_captions: 1, generate: {}}, {
    onResult: (item, result) => found.push(result.caption ?? result.error.code)});
  return found.sort();
})"""


def test_a_file_that_is_deleted_before_it_is_sent_fails_alone(page: Any, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(6)]
    for number, file in enumerate(files):
        file.write_bytes(png(number))
    page.evaluate(
        """() => {
          const input = document.createElement('input');
          Object.assign(input, {type: 'file', multiple: true, id: 'own'});
          document.body.append(input);
        }"""
    )
    page.set_input_files("#own", files)
    files[0].unlink()
    expected = [*(stub_caption(number) for number in range(1, 6)), "file_unreadable"]
    assert page.evaluate(_SEND) == sorted(expected)


def test_captions_and_file_names_are_text_and_never_html(page: Any) -> None:
    attack = "<img src=x onerror=document.title=1>"
    page.click("#open-settings")
    page.fill("#prompt", attack)
    page.fill("#captions", "2")
    page.click("#settings-submit")
    add(page, image_files([1], name=f"{attack}{{}}.png"))
    assert captions(page) == [f"{attack} {stub_caption(1)}"]
    assert page.locator(".alternatives bdi").inner_text().startswith(attack)
    assert page.locator("img[src='x']").count() == 0
    assert page.title() == "captune – captions for your images"


def test_confidence_is_explained_in_words(page: Any) -> None:
    add(page, image_files([1]))
    # The stub's mean log-probability is -0.5, and exp(-0.5) = 0.607.
    assert page.inner_text(".confidence summary").strip() == "Model is sure"
    page.click(".confidence summary")
    assert "61 % probability on average" in page.inner_text(".confidence .note")


def test_flags_are_shown_in_words(page: Any) -> None:
    loop = {"name": "loop.png", "mimeType": "image/png", "buffer": encoded(poison("repetition"))}
    add(page, [loop])
    badges = page.locator(".badge.warn").all_inner_texts()
    assert badges == ["Repeats itself", "Cut off: it reached the maximum length"]


def test_a_removed_image_disappears_and_the_focus_moves_to_the_next(page: Any) -> None:
    add(page, image_files([1, 2]))
    page.get_by_role("button", name="Remove photo-1.png").click()
    assert captions(page) == [stub_caption(2)]
    focused = page.evaluate("document.activeElement.getAttribute('aria-labelledby')")
    assert page.inner_text(f"#{focused}") == "photo-2.png"


def test_clearing_warns_of_corrections_that_are_not_downloaded(page: Any) -> None:
    add(page, image_files([1]))
    page.fill("textarea.caption", "my words")
    page.click("#clear")
    assert re.search("1 correction would be lost", page.inner_text("#clear-text"))
    page.click("#clear-dialog button[type=submit]")
    assert page.locator("#cards > li").count() == 0


def test_images_that_are_removed_while_they_wait_are_not_sent(page: Any) -> None:
    held: list[Any] = []
    page.route("**/v1/caption", lambda route: held.append(route))  # noqa: PLW0108 - not a builtin
    for number in range(5):
        page.set_input_files("#files", image_files([number]))
        page.locator("#cards > li").nth(number).wait_for()
    page.get_by_role("button", name="Remove photo-3.png").click()
    for place in range(4):
        # Three requests run at once, each with an image; the fourth waits.
        while len(held) <= place:
            page.wait_for_timeout(20)
        held[place].continue_()
    wait_ended(page, 4)
    assert (len(held), captions(page)) == (4, [stub_caption(number) for number in (0, 1, 2, 4)])
