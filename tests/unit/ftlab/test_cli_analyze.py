"""`ftlab analyze`, and the same in the SDK."""

from typing import Any

from ftlab import Client
from ftlab.schemas import JobAnalytics
from ftlab.schemas.analytics import (
    BestEvaluation,
    BestValue,
    Convergence,
    EarlierRun,
    Gap,
    GradientNorm,
    ShareOfSteps,
    SpeedOfPart,
    Throughput,
    TimeUse,
)
from ftlab.status import JobStatus
from tests.unit.ftlab.fake_service import START

TIME = TimeUse(
    total_s=4000.0,
    queued_s=100.0,
    paused_s=0.0,
    starting_s=30.0,
    data_s=0.01,
    generation_s=0.0,
    forward_s=1200.0,
    backward_s=2400.0,
    optimizer_s=200.0,
    evaluation_s=50.0,
    sampling_s=0.0,
    saving_s=10.0,
    finishing_s=4.5,
    lost_s=0.0,
    other_s=5.49,
)
EARLIER = EarlierRun(
    job_id="job-0",
    name="first",
    created_at=START,
    steps=90,
    best=1.5,
    last=1.25,
    tokens_per_s=900.0,
    is_comparable=True,
)
SUMMARY = [
    "The lowest eval loss is 1.234, at step 1,200 of 1,600.",
    "The evaluation is worse than the training by 0.41 at step 1,600, and was by 0.12 at the best evaluation.",
]


def analytics(**values: Any) -> dict[str, Any]:
    found = JobAnalytics(
        job_id="",
        status=JobStatus.COMPLETED,
        method="dpo",
        step=1600,
        total_steps=1600,
        num_attempts=1,
        summary=SUMMARY,
        best=BestEvaluation(metric="eval_loss", step=1200, value=1.234, steps_since=400, evaluations_since=2),
        best_values=[BestValue(metric="eval_rewards/margins", step=1000, value=0.5)],
        shares=[
            ShareOfSteps(share=0.0, step=1, value=2.5),
            ShareOfSteps(share=1.0, step=1600, value=0.5, evaluation=1.4),
        ],
        convergence=Convergence(metric="loss", num_points=1600, first=2.5, last=0.5, trend="falling"),
        gap=Gap(step=1600, train=0.5, evaluation=0.91, gap=0.41, at_best=0.12, is_widening=True),
        gradient_norm=GradientNorm(median=1.25, max=9.0, max_step=7, last=1.0, clipped_share=0.6, spikes=0),
        throughput=Throughput(
            tokens_per_s=1234.5,
            parts=[SpeedOfPart(from_step=1, to_step=2, tokens_per_s=speed) for speed in (1200.0, 1250.0)],
        ),
        time=TIME,
        earlier_runs=[EARLIER],
    )
    return found.model_dump(mode="json") | values


def test_the_analysis_is_printed(cli, fake):
    job = fake.add_job(2)
    fake.analytics = analytics()
    run = cli("analyze", job.id)
    assert run.lines == [
        f"✓ completed  {job.id}  dpo  step 1600/1600",
        "The lowest eval loss is 1.234, at step 1,200 of 1,600.",
        "The evaluation is worse than the training by 0.41 at step 1,600, and was by 0.12",
        "  at the best evaluation.",
        "Best rewards margins  0.5 at step 1000",
        "Gap to training       0.41 at step 1600, 0.12 at the best step",
        "Gradient norm         median 1.25, highest 9 at step 7, 60% clipped",
        "Tokens per second     1,234; by quarter 1,200 / 1,250",
        "",
        "AT\tSTEP\tLOSS\tEVAL LOSS",
        "0%\t1\t2.5\t",
        "100%\t1600\t0.5\t1.4",
        "",
        "TIME\tDURATION\tSHARE",
        "in the queue\t1:40\t2%",
        "starting\t30.0 s\t1%",
        "forward pass\t20:00\t30%",
        "backward pass\t40:00\t60%",
        "optimizer\t3:20\t5%",
        "evaluation\t50.0 s\t1%",
        "saving checkpoints\t10.0 s\t0%",
        "delivering the model\t4.5 s\t0%",
        "other\t5.5 s\t0%",
        "total\t1:06:40\t",
        "",
        "EARLIER JOB\tNAME\tBEST EVAL\tCOMPARABLE\tLAST\tTOKENS/S\tCHANGES",
        "job-0\tfirst\t1.5\tyes\t1.25\t900\t0",
    ]
    assert max(map(len, run.lines)) <= 80
    assert cli("analyze", job.id, "--json").json == fake.analytics | {"job_id": job.id}


def test_a_job_that_has_not_trained_has_only_its_time(cli, fake):
    job = fake.add_job()
    time = TimeUse(total_s=5.0, queued_s=5.0, paused_s=0, starting_s=0, finishing_s=0, lost_s=0, other_s=0)
    empty = JobAnalytics(
        job_id="", status=JobStatus.QUEUED, step=0, total_steps=None, num_attempts=0, summary=[], time=time
    )
    fake.analytics = empty.model_dump(mode="json")
    assert cli("analyze", job.id).lines == [
        f"○ queued  {job.id}  step 0",
        "",
        "TIME\tDURATION\tSHARE",
        "in the queue\t5.0 s\t100%",
        "total\t5.0 s\t",
    ]


def test_parts_that_are_not_recorded_are_explained(cli, fake):
    job = fake.add_job(2)
    fake.analytics = analytics(time=TIME.model_dump(mode="json") | {"forward_s": None, "missing": "Not recorded."})
    assert cli("analyze", job.id).err.strip() == "Not recorded."


def test_the_sdk_returns_it(fake):
    job = fake.add_job(2)
    fake.analytics = analytics()
    with Client(fake.url) as client:
        found = client.jobs.analytics(job.name)
    assert (found.job_id, found.best.step, found.time.forward_s) == (job.id, 1200, 1200.0)
