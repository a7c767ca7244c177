"""From a submission to a durable job: the audio is kept first, then the job that refers to it."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from starlette.datastructures import UploadFile

from serve_app.api.catalogue import check_can_do
from serve_app.api.cold_start import check_is_there
from serve_app.api.job_forms import JobForm, Submission
from serve_app.api.resumable import ResumableUploads
from serve_app.api.services import Services
from serve_app.api.uploads import blocks_of
from serve_app.errors import InvalidRequest, JobNotFound, UploadNotFound
from serve_app.jobs.job import Idempotency, JobSource, NewJob, RemoteMedia, Submitted
from serve_app.jobs.protocols import Jobs
from serve_app.media.addresses import AddressRules
from serve_app.transcript.protocols import MediaStore, StoredMedia
from serve_app.transcript.types import TranscriptionOptions

SUBMITS = uuid.UUID("5d0a3c0e-6f0e-4f58-9a54-0e8f0d6a7b3c")  # the namespace of ids that follow from a request
GONE = RemoteMedia("")  # the source of a job that is there already, which keeps its own


@dataclass(frozen=True, slots=True)
class Kept:
    """Audio that is ready for a job."""

    job_id: str
    source: JobSource
    size_bytes: int
    fingerprint: str
    ours: StoredMedia | None = None  # stored for this submit, to be deleted if there is no new job


class Submitter:
    """Submits the jobs of one owner."""

    def __init__(self, services: Services, jobs: Jobs, uploads: ResumableUploads, owner: str) -> None:
        self._services = services
        self._jobs = jobs
        self._uploads = uploads
        self._owner = owner

    async def submit(self, submission: Submission) -> Submitted:
        """
        Accept a job; what can be refused is refused before any audio is kept.

        Raises:
            InvalidRequest, UnsupportedLanguage, ModelNotFound: A field is wrong.
            IdempotencyMismatch: The key was used for something else.
            UploadNotFound: There is no such upload, or the job that it became was deleted.
            ModelNotReady, OutOfMemory, ModelLoadFailed: As `check_is_there`.
            Unavailable: Perhaps it was accepted: the same submit tells.
        """
        options = self._options(submission.form)
        self._check_addresses(submission.form)
        await self._check_model(submission, options.decoding.model_id)
        if submission.form.upload_id:
            return await self._submit_upload(submission, options, submission.form.upload_id)
        return await self._submit(submission, options, await self._keep(submission))

    async def _check_model(self, submission: Submission, model_id: str) -> None:
        """A repeated submit gets its job, whatever has become of the model."""
        if self._services.settings.lifecycle.cold_start == "reject" and not await self._is_repeated(submission):
            await check_is_there(self._services, model_id)

    async def _is_repeated(self, submission: Submission) -> bool:
        if submission.form.upload_id:
            return await self._exists(self._id_of(submission))
        key = submission.idempotency_key
        return key is not None and await self._jobs.was_submitted(key, self._owner)

    async def _submit(self, submission: Submission, options: TranscriptionOptions, kept: Kept) -> Submitted:
        try:
            submitted = await self._jobs.submit(self._new(submission, options, kept))
        except InvalidRequest:
            await self._forget(kept)
            raise  # after any other error the job may be there, so the audio stays; what no job refers to is deleted later
        if submitted.job.job_id != kept.job_id:
            await self._forget(kept)
        return submitted

    async def _submit_upload(self, submission: Submission, options: TranscriptionOptions, upload_id: str) -> Submitted:
        """
        The id of the job follows from the request, so that a repeated one finds its job, even when the upload is gone.
        """
        again = Kept(self._id_of(submission), GONE, 0, submission.form.fingerprint())
        if await self._exists(again.job_id):
            return await self._submit(submission, options, again)
        async with self._uploads.finished(upload_id, self._owner) as upload:
            if upload.job_id is None:
                media = await self._uploads.hand_over(upload, store_of(self._services))
                kept = replace(again, source=media, size_bytes=upload.length, ours=media)
                submitted = await self._submit(submission, options, kept)
                await self._uploads.spend(upload, submitted.job.job_id)
                return submitted
        if upload.job_id != again.job_id:
            raise InvalidRequest(
                f"The upload became the job {upload.job_id}. Upload the file again.", param="upload_id"
            )
        if not await self._exists(again.job_id):
            raise UploadNotFound(
                "The upload became a job that was deleted, and is gone with it. Upload the file again.",
                param="upload_id",
            )
        return await self._submit(submission, options, again)

    def _id_of(self, submission: Submission) -> str:
        request = [self._owner, submission.idempotency_key, submission.form.fingerprint()]
        return str(uuid.uuid5(SUBMITS, json.dumps(request)))

    async def _exists(self, job_id: str) -> bool:
        try:
            await self._jobs.deliveries(job_id, self._owner)  # reads nothing large, and is no reading of the result
        except JobNotFound:
            return False
        return True

    def _options(self, form: JobForm) -> TranscriptionOptions:
        settings, catalogue = self._services.settings, self._services.catalogue
        model_id = catalogue.find(form.model or settings.default_model)
        check_can_do(catalogue, model_id, form)
        return form.options(settings, model_id)

    def _check_addresses(self, form: JobForm) -> None:
        if form.url:
            if self._services.fetcher is None:
                raise InvalidRequest("This service fetches no audio. Send a file.", param="url")
            self._services.fetcher.check(form.url)
        if form.webhook_url:
            AddressRules(self._services.settings.outbound.allow).check(form.webhook_url, param="webhook_url")

    async def _keep(self, submission: Submission) -> Kept:
        form, job_id = submission.form, str(uuid.uuid4())
        if submission.file:
            return await self._keep_file(submission.file, form, job_id)
        return Kept(job_id, RemoteMedia(form.url or ""), 0, form.fingerprint())

    async def _keep_file(self, file: UploadFile, form: JobForm, job_id: str) -> Kept:
        digest = hashlib.sha256()

        async def hashed() -> AsyncIterator[bytes]:
            async for block in blocks_of(file):
                digest.update(block)
                yield block

        media = await store_of(self._services).save(hashed())
        size_bytes = file.size or 0
        await file.close()  # the spooled copy
        return Kept(job_id, media, size_bytes, form.fingerprint(digest.hexdigest()), ours=media)

    def _new(self, submission: Submission, options: TranscriptionOptions, kept: Kept) -> NewJob:
        key = submission.idempotency_key
        return NewJob(
            job_id=kept.job_id,
            owner=self._owner,
            source=kept.source,
            options=options,
            size_bytes=kept.size_bytes,
            priority=submission.form.priority,
            webhook_url=submission.form.webhook_url,
            shows_words="word" in submission.form.timestamp_granularities,
            idempotency=Idempotency(key, kept.fingerprint) if key else None,
        )

    async def _forget(self, kept: Kept) -> None:
        if kept.ours:
            await store_of(self._services).delete(kept.ours)


def store_of(services: Services) -> MediaStore:
    """Where the audio of jobs lies."""
    return services.job_media or services.media_store
