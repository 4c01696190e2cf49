"""The server's addresses: what can be asked, in which form, and how errors are said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import Depends, FastAPI, File, Form, HTTPException, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware import Middleware

from perser.errors import UserError, one_line
from perser.server.answers import Fault, Heard, KeptProfile, ServedModel
from perser.server.gate import Gate, Measurements, error_answer
from perser.server.service import Service
from perser.web.access import OwnSiteOnly
from perser.web.limits import TooLarge

ABOUT = """Which emotions would a person hear in a clip? Send the clip with a few clips that this person
labeled, or keep a profile of the person and name it. The answers do not show what anybody feels: use them
only with the consent of the person who speaks, and never as evidence."""

ONE_BY_ONE: dict[str, Any] = {
    "requestBody": {
        "content": {"multipart/form-data": {"encoding": {"emotions": {"style": "form", "explode": True}}}}
    }
}
"""Tells a client that is made from the description to send each text of `emotions` as a field of its own."""

FAULTS: dict[int | str, dict[str, Any]] = {
    status: {"model": Fault, "description": text}
    for status, text in (
        (401, "The token is missing or wrong."),
        (404, "There is no such profile."),
        (408, "The request took too long to arrive."),
        (409, "The profile is damaged, or of another model."),
        (413, "A file or the request is too large."),
        (422, "A clip or a value cannot be used."),
        (503, "Too many requests wait."),
        (507, "The profile cannot be kept."),
    )
}

Clip = Annotated[UploadFile, File(description="the recording to answer about")]
Examples = Annotated[
    list[UploadFile], File(default_factory=list, description="recordings that the person labeled")
]
Emotions = Annotated[
    list[str],
    Form(
        default_factory=list,
        description="what the person hears in each example, in the same order: happy, or happy;sad",
    ),
]
ProfileName = Annotated[str | None, Form(description="name of a kept profile, in place of examples")]


def make_app(service: Service, title: str, token: str | None, local_name: str | None) -> FastAPI:
    """Return the server as an ASGI application.

    Args:
        service: Answers the requests.
        title: The model's name.
        token: What every request must show; None: nothing.
        local_name: The address, where only this machine reaches it; requests that a page of another site
            sends are then refused. None where others may reach it.
    """
    measurements = Measurements()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    middleware = [Middleware(Gate, token=token, limits=service.limits, measurements=measurements)]
    if local_name is not None:
        middleware = [Middleware(OwnSiteOnly, names=(local_name, "localhost")), *middleware]
    app = FastAPIOffline(
        redoc_url=None,
        title=f"perser serve: {title}",
        description=ABOUT,
        version=version("perser"),
        lifespan=lifespan,
        middleware=middleware,
        dependencies=[] if token is None else [Depends(HTTPBearer(auto_error=False))],
        responses=FAULTS,
        license_info={"name": "Apache-2.0"},
    )
    _add_error_answers(app)
    _add_information(app, service, title, measurements)
    _add_answers(app, service)
    _add_profiles(app, service)
    return app


def _add_answers(app: FastAPI, service: Service) -> None:
    @app.post("/predict", tags=["answers"], openapi_extra=ONE_BY_ONE)
    async def predict(
        clip: Clip, examples: Examples, emotions: Emotions, profile: ProfileName = None
    ) -> Heard:
        """Answer about a clip, with and without personalization: by a kept profile, by labeled clips, or
        neither."""
        return await service.run(lambda: service.answer(clip, profile, examples, emotions))


def _add_profiles(app: FastAPI, service: Service) -> None:
    @app.put("/profiles/{name}", tags=["profiles"], openapi_extra=ONE_BY_ONE)
    async def enroll(name: str, examples: Examples, emotions: Emotions) -> KeptProfile:
        """Learn one person from labeled clips and keep the profile, in place of an earlier one of that name.
        The clips themselves are not kept."""
        return await service.run(lambda: service.enroll(name, examples, emotions))

    @app.get("/profiles", tags=["profiles"])
    async def profiles() -> list[str]:
        """Return the names of all kept profiles."""
        return await service.run(service.kept.names)

    @app.get("/profiles/{name}", tags=["profiles"])
    async def profile(name: str) -> KeptProfile:
        """Say what a profile was enrolled with."""
        personal = await service.run(lambda: service.kept.personal(name))
        return KeptProfile.of(name, personal.enrolled)

    @app.delete("/profiles/{name}", tags=["profiles"], status_code=204)
    async def delete(name: str) -> None:
        """Delete a profile."""
        await service.run(lambda: service.kept.delete(name))


def _add_information(app: FastAPI, service: Service, title: str, measurements: Measurements) -> None:
    @app.get("/health", tags=["information"])
    async def health() -> dict[str, str]:
        """Say that the server answers. Needs no token."""
        return {"status": "ok"}

    @app.get("/model", tags=["information"])
    async def model() -> ServedModel:
        """Say which model answers, and what the server accepts."""
        return ServedModel(
            name=title,
            route=service.recognizer.model.route,
            emotions=list(service.recognizer.emotions.names),
            keeps_profiles=service.keeps_profiles,
            limits=asdict(service.limits),
        )

    @app.get("/metrics", tags=["information"])
    async def metrics() -> Response:
        """Return counts, times and memory, as Prometheus reads them."""
        return Response(generate_latest(measurements.registry), media_type=CONTENT_TYPE_LATEST)


def _add_error_answers(app: FastAPI) -> None:
    """Say every error in one line of JSON."""

    @app.exception_handler(UserError)
    async def bad_input(request: Request, error: UserError) -> JSONResponse:
        return error_answer(413 if isinstance(error, TooLarge) else 422, str(error))

    @app.exception_handler(RequestValidationError)
    async def bad_request(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = (f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in error.errors())
        return error_answer(422, one_line("; ".join(problems)))

    @app.exception_handler(StarletteHTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return error_answer(error.status_code, one_line(error.detail), dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> JSONResponse:
        return error_answer(500, "the server failed: its own output says why")
