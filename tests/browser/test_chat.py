"""The chat page: one question, and the answers of the tuned model and of its base side by side."""

import json
from typing import Any

from playwright.sync_api import Page, Route, expect

NOT_READY = {
    "error": {
        "message": "The engine of this model is queued: Waiting for 1 GPU.",
        "type": "api_error",
        "param": "model",
        "code": "engine_not_ready",
        "request_id": None,
    }
}


def stream(*texts: str) -> str:
    chunks = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


def play(page: Page, asked: list[dict[str, Any]]) -> None:
    """Answer the page's requests; the engine of the base model is not ready at first."""

    def answer(route: Route) -> None:
        request = route.request.post_data_json
        asked.append(request)
        is_tuned = request["model"].startswith("model:")
        num_questions = sum(message["role"] == "user" for message in request["messages"])
        if not is_tuned and len([each for each in asked if each["model"] == request["model"]]) == 1:
            route.fulfill(status=503, json=NOT_READY)
            return
        who = "Tuned" if is_tuned else "Base"
        body = stream(f"{who} <b>answer</b> ", f"{num_questions}")
        route.fulfill(status=200, body=body, headers={"content-type": "text/event-stream"})

    page.route("**/v1/chat/completions", answer)


def test_tuned_and_base_answer_side_by_side(world, open_page):
    page = open_page("/chat", may_fail=True)
    asked: list[dict[str, Any]] = []
    play(page, asked)
    page.get_by_label("Message").fill("Where is my order?")
    page.get_by_label("Message").press("Enter")

    tuned, base = (page.get_by_role("article").nth(number) for number in (0, 1))
    expect(tuned).to_contain_text("Tuned <b>answer</b> 1")
    expect(base).to_contain_text("Waiting for 1 GPU.")
    expect(base).to_contain_text("Base <b>answer</b> 1")

    page.get_by_label("Message").fill("And now?")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("article").nth(3)).to_contain_text("Base <b>answer</b> 2")
    assert asked[-1]["messages"][0]["content"] == "Where is my order?"
    assert [message["role"] for message in asked[-1]["messages"]] == ["user", "assistant", "user"]


def test_an_error_is_shown_in_the_place_of_the_answer(world, open_page):
    page = open_page("/chat", may_fail=True)
    error = {"error": NOT_READY["error"] | {"message": "The engine of this model failed.", "code": "engine_failed"}}
    page.route("**/v1/chat/completions", lambda route: route.fulfill(status=503, json=error))
    page.get_by_label("Message").fill("Hi")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("The engine of this model failed.")).to_have_count(2)
