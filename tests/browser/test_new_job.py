"""From a file to a submitted job in the browser, on the service without Ray. The data worker's answers are set."""

import json
import re
from typing import Any

import pytest
import yaml
from playwright.sync_api import Page, Route, expect

from cluster.data.requests import WorkState, WorkStatus
from ftlab.schemas.judge_servers import JudgeServer
from tests.browser.conftest import Held
from tests.support.clocks import wait_for
from tests.support.dropped_files import drop
from tests.unit.ftlab.check_documents import EVIL, REPORT, TOKEN_ROW
from train.data.tokens.row_lengths import RowLengths

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
CSV = "prompt,completion\n" + "".join(f"What is {n} plus 1?,It is {n + 1}.\n" for n in range(30))


@pytest.fixture(autouse=True)
def answers(world):
    """What the data worker says about every dataset."""
    data = world.scene.services.data
    data.state = WorkState(WorkStatus.DONE, 30, 30, result=REPORT)
    data.rows = [TOKEN_ROW]
    data.lengths = [RowLengths(30, 30, 600, 300, {20: 30}, is_exact=True)]


def open_new(open_page, query: str = "", **options: Any) -> Page:
    """The page of a new job, once it knows the settings of the service."""
    page: Page = open_page(f"/new{query}", **options)
    # The first description of the API that a service makes takes seconds.
    expect(page.get_by_role("heading", name="Settings")).to_be_visible(timeout=60_000)
    return page


def submitted(world, page: Page) -> dict[str, Any]:
    """The job whose page is open."""
    page.wait_for_url(re.compile("/jobs/job-"))
    job_id = page.url.rsplit("/", 1)[1]
    return dict(world.scene.api.get(f"/api/training/jobs/{job_id}").json())


def test_from_a_dropped_file_to_a_submitted_job(world, open_page):
    page = open_new(open_page)
    expect(page.get_by_role("button", name="Submit the job")).to_be_disabled()
    drop(page, "sums.csv", CSV)
    expect(page.get_by_text("30 conversations, read as prompt_completion from csv")).to_be_visible()
    first = page.get_by_role("row", name=re.compile("What is 0 plus 1"))
    expect(first.locator("td").first).to_contain_text("completion")
    expect(first.locator("td").last).to_contain_text("assistant")

    page.get_by_label("Model", exact=True).fill(MODEL)
    expect(page.get_by_text("LlamaForCausalLM")).to_be_visible()
    expect(page.get_by_text(f"{EVIL} is cut off.")).to_be_visible()
    expect(page.locator(".token-text .token-trained").first).to_contain_text("swer")
    page.get_by_role("button", name="Use 64").click()
    expect(page.get_by_label("method.max_length", exact=True)).to_have_value("64")

    template = Held(page, "**/api/templates/advanced", "GET")
    page.get_by_label("Start from a template").select_option("advanced")
    template.wait()
    page.get_by_label("training.max_steps", exact=True).fill("20")
    template.release()
    expect(page.get_by_label("lora.r", exact=True)).not_to_have_value("")
    page.get_by_label("a share of these rows").check()
    page.get_by_label("Name", exact=True).fill("sums")
    expect(page.get_by_text("Steps", exact=True)).to_be_visible()
    job = Held(page, "**/api/training/jobs", "POST")
    page.get_by_role("button", name="Submit the job").click()
    job.wait()
    expect(page.get_by_label("training.max_steps", exact=True)).to_be_disabled()
    expect(page.get_by_label("Name", exact=True)).to_be_disabled()
    job.release()
    config = submitted(world, page)["config"]
    assert (config["name"], config["model"], config["eval_split"]) == ("sums", MODEL, 0.1)
    assert config["training"]["max_steps"] == 20
    page.goto("/new")
    expect(page.locator(".drop")).to_be_visible()


def test_the_form_and_the_yaml_are_the_same_document(world, open_page):
    page = open_new(open_page, f"?dataset={world.scene.dataset()}&model={MODEL}")
    page.get_by_label("training.learning_rate", exact=True).fill("1e-4")
    page.get_by_role("button", name="YAML").click()
    text = page.get_by_role("textbox", name="Config as YAML")
    expect(text).to_have_value(re.compile("training:\n  learning_rate: 0.0001\n"))
    text.fill(text.input_value() + "  seed: 7 # lucky\n  max_steps: 3\n")
    page.get_by_role("button", name="Form").click()
    expect(page.get_by_label("training.max_steps", exact=True)).to_have_value("3")
    page.get_by_label("Find a setting").fill("seed of all")
    expect(page.get_by_label("training.seed", exact=True)).to_have_value("7")
    page.get_by_role("button", name="Reset training.seed").click()
    page.reload()
    page.get_by_role("button", name="YAML").click()
    expect(text).not_to_have_value(re.compile("seed"))
    text.fill("training: [")
    expect(page.get_by_role("alert").first).to_contain_text("Line 1")
    expect(page.get_by_role("button", name="Submit the job")).to_be_disabled()


def test_errors_are_shown_at_the_setting_that_they_name(world, open_page):
    page = open_new(open_page, f"?dataset={world.scene.dataset()}&model={MODEL}", may_fail=True)
    field = page.get_by_label("lora.r", exact=True)
    field.fill("5000")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.locator("[id='problem-lora.r']")).to_have_text("Must be a whole number, 1 to 1024.")
    field.fill("")

    page.get_by_label("Find a setting").fill("warmup")
    page.get_by_label("training.warmup_steps", exact=True).fill("4")
    page.get_by_label("training.warmup_ratio", exact=True).fill("0.1")
    expect(page.locator("[id='problem-training.warmup_steps']")).to_contain_text("cannot be combined")
    expect(page.get_by_role("button", name="Submit the job")).to_be_disabled()
    page.get_by_label("Find a setting").fill("")
    page.get_by_role("button", name="Mend training.warmup_steps").click()
    expect(page.get_by_label("training.warmup_steps", exact=True)).to_be_focused()
    page.get_by_role("button", name="Reset training.warmup_ratio").click()
    expect(page.get_by_role("button", name="Submit the job")).to_be_enabled()


def test_several_datasets_are_mixed_by_weight(world, open_page):
    first, second = world.scene.dataset("first.jsonl", 8), world.scene.dataset("second.jsonl", 9)
    page = open_new(open_page, f"?dataset={first}&model={MODEL}", may_fail=True)  # the weight that is refused
    page.get_by_label("Add another dataset").select_option(second)
    expect(page.get_by_label("one after another, in this order")).to_be_checked()
    page.get_by_role("button", name="Move second.jsonl up").click()
    page.get_by_label("mixed by weight").check()
    page.get_by_label("Weight of second.jsonl").fill("0")
    expect(page.locator("#problem-dataset_weights")).to_contain_text("greater than 0")
    page.get_by_label("Weight of second.jsonl").fill("2.5")
    page.get_by_text("First rows of first.jsonl").click()
    expect(page.get_by_role("region", name="First rows")).to_be_visible()
    page.get_by_role("button", name="Submit the job").click()
    config = submitted(world, page)["config"]
    assert (config["dataset"], config["dataset_weights"]) == ([second, first], [2.5, 1])


def test_what_is_set_during_an_upload_stays(open_page):
    page = open_new(open_page)
    held = Held(page, "**/api/uploads/*/complete", "POST")
    drop(page, "slow.csv", CSV)
    held.wait()
    page.get_by_label("lora.r", exact=True).fill("8")
    page.get_by_label("Model", exact=True).fill(MODEL)
    held.release()
    expect(page.get_by_text("30 conversations, read as")).to_be_visible()
    expect(page.get_by_label("lora.r", exact=True)).to_have_value("8")
    expect(page.get_by_label("Model", exact=True)).to_have_value(MODEL)


def test_an_upload_that_ends_later_does_not_leave_the_page_that_is_open_by_then(open_page):
    page = open_page("/datasets")
    held = Held(page, "**/api/uploads/*/complete", "POST")
    drop(page, "left.csv", CSV)
    held.wait()
    page.get_by_role("link", name="Templates").click()
    visited: list[str] = []
    page.on("framenavigated", lambda frame: visited.append(frame.url))
    with page.expect_response("**/api/uploads/*/complete"):
        held.release()
    page.get_by_role("link", name="Datasets").click()
    expect(page.get_by_role("link", name="left.csv")).to_be_visible()
    assert [address for address in visited if "/datasets/" in address] == []


def test_a_submission_that_ends_later_does_not_leave_the_page_that_is_open_by_then(world, open_page):
    page = open_new(open_page, f"?dataset={world.scene.dataset()}&model={MODEL}")
    held = Held(page, "**/api/training/jobs", "POST")
    page.get_by_role("button", name="Submit the job").click()
    held.wait()
    page.get_by_role("link", name="Templates").click()
    visited: list[str] = []
    page.on("framenavigated", lambda frame: visited.append(frame.url))
    held.release()
    wait_for(lambda: page.evaluate("sessionStorage.getItem('ftlab:new-job')") is None, 15, "the end of the draft")
    page.get_by_role("link", name="New job", exact=True).click()
    expect(page.locator(".drop")).to_be_visible()
    assert [address for address in visited if "/jobs/" in address] == []


def test_rewards_and_sample_prompts_are_lists_of_fields(world, open_page):
    dataset = world.scene.dataset("mixed.jsonl", 10)
    page = open_new(open_page, f"?dataset={dataset}&model={MODEL}", may_fail=True)  # the pattern that is refused
    page.get_by_role("combobox", name="Method", exact=True).select_option("grpo")
    rewards = page.get_by_role("group", name="method.rewards")
    add = rewards.get_by_label("Add to method.rewards")
    add.select_option("regex")
    expect(page.locator("[id='problem-method.rewards.0.pattern']")).to_contain_text("is required")
    rewards.get_by_label("pattern", exact=True).fill("(")
    expect(page.locator("[id='problem-method.rewards.0.pattern']")).to_contain_text("valid regular expression")
    page.get_by_role("button", name="Mend method.rewards.0.pattern").click()
    expect(rewards.get_by_label("pattern", exact=True)).to_be_focused()
    rewards.get_by_label("pattern", exact=True).fill("^yes")
    add.select_option("length")
    rewards.get_by_label("max_length", exact=True).fill("0")
    expect(page.locator("[id='problem-method.rewards.1.max_length']")).to_contain_text("1 to 1,048,576")
    rewards.get_by_label("max_length", exact=True).fill("20")
    add.select_option("exact_match")
    rewards.get_by_role("button", name="Remove number 3 of method.rewards").click()

    page.get_by_label("Find a setting").fill("sample_prompts")
    prompts = page.get_by_role("group", name="training.sample_prompts")
    for number, text in enumerate(("What is 1 + 1?", "Say\nyes")):
        prompts.get_by_role("button", name="Add a text").click()
        prompts.get_by_label(f"training.sample_prompts.{number}").fill(text)
    page.get_by_role("button", name="YAML").click()
    text = page.get_by_role("textbox", name="Config as YAML").input_value()
    config = yaml.safe_load(text)
    assert config["method"]["rewards"] == [{"type": "regex", "pattern": "^yes"}, {"type": "length", "max_length": 20}]
    assert config["training"]["sample_prompts"] == ["What is 1 + 1?", "Say\nyes"]
    page.get_by_role("button", name="Form").click()
    expect(page.get_by_role("button", name="Submit the job")).to_be_enabled()


def test_rows_in_pairs_choose_a_method_that_learns_from_them(open_page):
    page = open_new(open_page)
    drop(page, "pairs.csv", "prompt,chosen,rejected\nHi,Hello,Go away\nBye,Goodbye,No\n")
    expect(page.get_by_role("combobox", name="Method", exact=True)).to_have_value("dpo")
    expect(page.get_by_label("method.max_length", exact=True)).to_be_visible()


def test_a_file_of_unknown_columns_is_read_with_a_mapping(open_page):
    page = open_page("/datasets", may_fail=True)
    drop(page, "faq.csv", "question,reply\nHi,Hello\nBye,Goodbye\n")
    expect(page.get_by_role("alert")).to_contain_text("match no known shape")
    assert page.locator("datalist option").evaluate_all("all => all.map(one => one.value)") == ["question", "reply"]
    page.get_by_label("Column of prompt").fill("question")
    page.get_by_label("Column of completion").fill("reply")
    page.get_by_role("button", name="Read the file again").click()
    expect(page.get_by_role("heading", name="faq.csv")).to_be_visible()
    expect(page.get_by_text("2 conversations, read as prompt_completion")).to_be_visible()


def test_an_upload_continues_after_the_connection_broke(open_page):
    page = open_page("/datasets", may_fail=True)
    sent: list[str] = []

    def break_once(route: Route) -> None:
        if route.request.method != "PATCH":
            route.continue_()
            return
        sent.append(route.request.headers["upload-offset"])
        if len(sent) == 2:
            route.abort()
        else:
            route.continue_()

    page.route("**/api/uploads/*", break_once)
    row = json.dumps({"prompt": "long " * 200, "completion": "yes"}) + "\n"
    drop(page, "long.jsonl", row * 5000)
    expect(page.get_by_role("heading", name="long.jsonl")).to_be_visible(timeout=30_000)
    assert sent == ["0", "4194304", "4194304"]


def test_a_dataset_is_deleted_after_a_question_and_not_while_it_is_used(world, open_page):
    used = world.scene.dataset()
    page = open_page(f"/datasets/{used}", may_fail=True)
    for _ in range(2):
        page.get_by_role("button", name="Actions for support-train.jsonl").click()
        page.get_by_role("menuitem", name="Delete the dataset").click()
        dialog = page.get_by_role("dialog", name="Delete support-train.jsonl?")
        dialog.get_by_role("button", name="Delete the dataset").click()
        expect(dialog.get_by_role("alert")).to_contain_text("in use")
        dialog.get_by_role("button", name="Keep it").click()
    free = world.scene.dataset("free.jsonl", 3)
    page.goto(f"/datasets/{free}")
    page.get_by_role("button", name="Actions for free.jsonl").click()
    page.get_by_role("menuitem", name="Delete the dataset").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete the dataset").click()
    page.wait_for_url("**/datasets")
    assert world.scene.api.get(f"/api/datasets/{free}").status_code == 404


def test_a_dataset_is_shared_by_a_link_and_moved_to_another_bucket(world, open_page):
    dataset = world.scene.dataset("shared.jsonl", 5)
    page = open_page(f"/datasets/{dataset}", may_fail=True)  # the bucket that does not exist

    def choose(action: str) -> None:
        page.get_by_role("button", name="Actions for shared.jsonl").click()
        page.get_by_role("menuitem", name=action).click()

    choose("Share a link")
    dialog = page.get_by_role("dialog", name="Share shared.jsonl")
    dialog.get_by_label("The link works for").select_option("1 hour")
    dialog.get_by_role("button", name="Create the link").click()
    link = page.get_by_role("textbox", name="Link to shared.jsonl").input_value()
    assert world.scene.api.get(link).text.count("\n") == 5
    page.get_by_role("button", name="I have copied it").click()

    choose("Move to another bucket")
    dialog = page.get_by_role("dialog", name="Move shared.jsonl")
    dialog.get_by_label("Bucket").fill("nowhere")
    dialog.get_by_role("button", name="Move the dataset").click()
    expect(dialog.get_by_role("alert")).to_contain_text("lora-datasets")
    dialog.get_by_label("Bucket").fill("lora-datasets")
    dialog.get_by_role("button", name="Move the dataset").click()
    expect(dialog).to_have_count(0)
    assert world.scene.api.get(f"/api/datasets/{dataset}").json()["bucket"] == "lora-datasets"


def test_a_template_is_saved_used_changed_and_deleted(world, open_page):
    page = open_new(open_page, f"?dataset={world.scene.dataset()}&model={MODEL}", may_fail=True)
    page.get_by_label("lora.r", exact=True).fill("4")
    page.get_by_role("button", name="Save as a template").click()
    dialog = page.get_by_role("dialog", name="Save as a template")
    dialog.get_by_label("Name").fill("Not a name")
    dialog.get_by_role("button", name="Save the template").click()
    expect(dialog.get_by_role("alert")).to_contain_text("lowercase letters")
    dialog.get_by_label("Name").fill("small")
    dialog.get_by_label("What it is for").fill("For quick tries.")
    dialog.get_by_role("button", name="Save the template").click()
    expect(dialog).to_have_count(0)
    assert world.scene.api.get("/api/templates/small").json()["text"] == "# For quick tries.\nlora:\n  r: 4\n"

    page.goto("/templates/small")
    page.get_by_label("Text of small").fill("# For quick tries.\nlora: {r: 2}\n")
    page.get_by_role("button", name="Save the changes").click()
    expect(page.get_by_role("button", name="Save the changes")).to_be_disabled()
    # What is typed while the text is being saved stays.
    held = Held(page, "**/api/templates/small", "PUT")
    text = page.get_by_label("Text of small")
    text.fill("lora: {r: 3}\n")
    page.get_by_role("button", name="Save the changes").click()
    held.wait()
    text.fill("lora: {r: 2}\n")
    held.release()
    expect(page.get_by_role("button", name="Save the changes")).to_be_enabled()
    expect(text).to_have_value("lora: {r: 2}\n")
    with page.expect_response("**/api/templates/small"):
        page.get_by_role("button", name="Save the changes").click()
    page.get_by_role("link", name="Use it").click()
    expect(page.get_by_label("lora.r", exact=True)).to_have_value("2")
    expect(page.get_by_label("Model", exact=True)).to_have_value(MODEL)

    page.goto("/templates/small")
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("dialog", name="Delete the template small?").get_by_role(
        "button", name="Delete the template"
    ).click()
    page.wait_for_url("**/templates")
    expect(page.get_by_text("None yet.")).to_be_visible()


def test_a_tuned_model_is_the_base_of_a_new_job(open_page):
    page = open_page("/models", may_fail=True)
    expect(page.get_by_role("link", name="Download support-v1")).to_have_attribute(
        "href", re.compile("/download/model")
    )
    page.get_by_role("link", name="Use as base: support-v1").click()
    expect(page.get_by_label("Model", exact=True)).to_have_value(re.compile("^model:model-"))


def test_a_model_is_evaluated_from_its_job(world, open_page):
    world.scene.settings.judges["strict"] = JudgeServer(url="http://127.0.0.1:9/v1", model="large-model")
    page = open_page(f"/jobs/{world.ids['support-v1']}", may_fail=True)
    page.get_by_role("link", name="Evaluate").click()
    expect(page.get_by_label("Model", exact=True)).to_have_value(f"job:{world.ids['support-v1']}")
    start = page.get_by_role("button", name="Start the evaluation")
    expect(start).to_be_disabled()
    prompts = world.scene.api.post(
        "/api/datasets", content=b'{"prompt": "Why?"}\n{"prompt": "How?"}\n', headers={"x-filename": "prompts.jsonl"}
    ).json()
    page.reload()
    page.get_by_label("Dataset").select_option(prompts["id"])
    expect(page.get_by_label("BLEU")).to_be_disabled()
    expect(page.get_by_label("Valid JSON")).to_be_enabled()
    expect(start).to_be_disabled()
    page.get_by_label("Dataset").select_option(label="support-heldout.jsonl, 12 rows")
    page.get_by_label("Model", exact=True).fill(MODEL)
    page.get_by_label("BLEU").check()
    page.get_by_label("Regular expression").check()
    expect(start).to_be_disabled()
    page.get_by_label("Pattern").fill("(x")
    expect(page.get_by_role("group", name="Regular expression").get_by_text("must be a valid")).to_be_visible()
    page.get_by_label("Pattern").fill("^x")
    page.get_by_label("Score of a judge").check()
    page.get_by_role("combobox", name="Judge").select_option(label="strict (large-model)")
    page.get_by_label("Highest score").fill("5")
    page.get_by_label("Most tokens of an answer").fill("0")
    expect(page.get_by_text("generation.max_new_tokens must be")).to_be_visible()
    page.get_by_label("Most tokens of an answer").fill("20")
    page.get_by_label("Number of rows, from the first").fill("6")
    estimate = page.get_by_label("Estimate and submission")
    expect(estimate.get_by_text("no evaluation of these base models")).to_be_visible()
    expect(estimate.get_by_text("Checkpoints")).to_have_count(0)
    start.click()
    job = submitted(world, page)
    assert (job["kind"], job["status"]) == ("evaluation", "queued")
    metrics = job["config"]["metrics"]
    assert [metric["type"] for metric in metrics] == ["perplexity", "bleu", "regex", "judge_score"]
    assert metrics[2]["pattern"] == "^x"
    assert (metrics[3]["judge"], metrics[3]["max_score"]) == ("strict", 5)
    assert (job["config"]["max_rows"], job["config"]["generation"]["max_new_tokens"]) == (6, 20)
