"""
The commands that transcribe: their arguments, and what each comes to.

Nothing heavy is imported before a command runs, so that `--help` is quick.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from serve_app.cli import arguments as arg
from serve_app.cli.wishes import DEFAULT_MODEL, OutputFormat, Task, Wishes

jobs = typer.Typer(no_args_is_help=True, help="List, read, follow and cancel jobs.")


def transcribe(
    files: arg.Files,
    format: arg.Formats = [OutputFormat.TXT],  # noqa: B006  # Typer reads it, nobody changes it
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", "-o", help="Instead of beside each file.", show_default=False)
    ] = None,
    stdout: Annotated[bool, typer.Option("--stdout", help="Print the transcripts instead of writing files.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make again what is there already.")] = False,
    local: Annotated[bool, typer.Option("--local", help="In this process, without a service.")] = False,
    config: Annotated[
        Path | None, typer.Option("--config", help="With --local: a config file, for its models.", show_default=False)
    ] = None,
    at_once: Annotated[int, typer.Option("--at-once", min=1, help="Files worked on at the same time.")] = 2,
    model: arg.Model = DEFAULT_MODEL,
    language: arg.Language = "",
    task: arg.TaskOption = Task.TRANSCRIBE,
    prompt: arg.Prompt = "",
    hotwords: arg.Hotwords = "",
    temperature: arg.Temperature = None,
    beam_size: arg.BeamSize = None,
    vad: arg.Vad = None,
    channels: arg.ChannelsOption = None,
    multilingual: arg.Multilingual = False,
    condition_on_previous_text: arg.Continuous = False,
    word_times: arg.WordTimes = False,
    max_line_width: arg.LineWidth = None,
    max_line_count: arg.LineCount = None,
    url: arg.Url = arg.DEFAULT_URL,
    api_key: arg.ApiKey = "",
    json: arg.Json = False,
) -> None:
    """Transcribe files to text or subtitles, beside each file."""
    if stdout and len(set(format)) > 1 and not json:
        raise typer.BadParameter("one --format goes to standard output", param_hint="--stdout")
    if config and not local:
        raise typer.BadParameter("a service has its own config; use it with --local", param_hint="--config")
    if word_times and task is Task.TRANSLATE:
        raise typer.BadParameter("a translation has no times of words", param_hint="--word-times")
    wishes = Wishes(
        model=model,
        task=task,
        language=language,
        prompt=prompt,
        hotwords=hotwords,
        temperature=temperature,
        beam_size=beam_size,
        vad_filter=vad,
        channels=channels,
        multilingual=multilingual,
        condition_on_previous_text=condition_on_previous_text,
        word_times=word_times,
        max_line_width=max_line_width,
        max_line_count=max_line_count,
    )
    from serve_app.cli.remote import Remote
    from serve_app.cli.transcribe import Order, local_backend, run_transcribe, service_backend

    order = Order(tuple(dict.fromkeys(format)), output_dir, stdout, overwrite, as_json=json, at_once=at_once)
    backend = partial(local_backend, config) if local else partial(service_backend, Remote(url, api_key))
    run_transcribe(files, order, partial(backend, wishes))


def submit(
    source: Annotated[str, typer.Argument(metavar="FILE|URL", help="A file, or where the service is to fetch one.")],
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end.")] = False,
    webhook_url: Annotated[str, typer.Option("--webhook-url", help="Told when the job ends.", show_default=False)] = "",
    priority: arg.PriorityOption = None,
    idempotency_key: Annotated[
        str, typer.Option("--idempotency-key", help="The same key gives the same job again.", show_default=False)
    ] = "",
    model: arg.Model = DEFAULT_MODEL,
    language: arg.Language = "",
    task: arg.TaskOption = Task.TRANSCRIBE,
    prompt: arg.Prompt = "",
    hotwords: arg.Hotwords = "",
    temperature: arg.Temperature = None,
    beam_size: arg.BeamSize = None,
    vad: arg.Vad = None,
    channels: arg.ChannelsOption = None,
    multilingual: arg.Multilingual = False,
    condition_on_previous_text: arg.Continuous = False,
    word_times: arg.WordTimes = False,
    url: arg.Url = arg.DEFAULT_URL,
    api_key: arg.ApiKey = "",
    json: arg.Json = False,
) -> None:
    """Submit a job and print its id. A large file goes up in parts, and goes on after a cut."""
    wishes = Wishes(
        model=model,
        task=task,
        language=language,
        prompt=prompt,
        hotwords=hotwords,
        temperature=temperature,
        beam_size=beam_size,
        vad_filter=vad,
        channels=channels,
        multilingual=multilingual,
        condition_on_previous_text=condition_on_previous_text,
        word_times=word_times,
    )
    from serve_app.cli.job_requests import submission
    from serve_app.cli.remote import Remote
    from serve_app.cli.submit import run_submit

    job = submission(source, wishes, priority, webhook_url=webhook_url, idempotency_key=idempotency_key)
    run_submit(Remote(url, api_key), job, wait=wait, as_json=json)


@jobs.command("list")
def list_jobs(
    status: Annotated[str, typer.Option("--status", help="Only these.", show_default=False)] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")] = 20,
    url: arg.Url = arg.DEFAULT_URL,
    api_key: arg.ApiKey = "",
    json: arg.Json = False,
) -> None:
    """List jobs, newest first."""
    from serve_app.cli.jobs import run_list
    from serve_app.cli.remote import Remote

    run_list(Remote(url, api_key), status=status, limit=limit, as_json=json)


@jobs.command("get")
def get_job(
    job_id: arg.JobId,
    format: Annotated[
        OutputFormat | None, typer.Option("--format", "-f", help="Print the result so.", show_default=False)
    ] = None,
    max_line_width: arg.LineWidth = None,
    max_line_count: arg.LineCount = None,
    url: arg.Url = arg.DEFAULT_URL,
    api_key: arg.ApiKey = "",
    json: arg.Json = False,
) -> None:
    """Show a job, or print its result."""
    if format and json:
        raise typer.BadParameter("it prints the job, and --format the result", param_hint="--json")
    from serve_app.cli.jobs import run_get
    from serve_app.cli.remote import Remote

    wishes = Wishes(max_line_width=max_line_width, max_line_count=max_line_count)
    run_get(Remote(url, api_key), job_id, format, wishes, as_json=json)


@jobs.command("watch")
def watch_job(
    job_id: arg.JobId, url: arg.Url = arg.DEFAULT_URL, api_key: arg.ApiKey = "", json: arg.Json = False
) -> None:
    """Follow a job to its end, printing what was said; exit code 1 if it fails or is cancelled."""
    from serve_app.cli.jobs import run_watch
    from serve_app.cli.remote import Remote

    run_watch(Remote(url, api_key), job_id, as_json=json)


@jobs.command("cancel")
def cancel_jobs(
    job_ids: Annotated[list[str], typer.Argument(metavar="JOB_ID...", help="As `rayscribe submit` printed them.")],
    purge: Annotated[bool, typer.Option("--purge", help="Delete them too, with audio and text.")] = False,
    url: arg.Url = arg.DEFAULT_URL,
    api_key: arg.ApiKey = "",
    json: arg.Json = False,
) -> None:
    """Cancel jobs; what was transcribed of them is kept."""
    from serve_app.cli.jobs import run_cancel
    from serve_app.cli.remote import Remote

    run_cancel(Remote(url, api_key), job_ids, purge=purge, as_json=json)
