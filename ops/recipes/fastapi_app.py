"""A FastAPI backend that asks documents. Run: uvicorn ops.recipes.fastapi_app:app"""

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from glyph_worker import Client, JobFailed, RefusedError, RequestError, UnknownJob

app = FastAPI()
client = Client.from_env()  # GLYPH_BROKER_URL; opens nothing yet


class Question(BaseModel):
    """The body: plain arguments would be read from the URL, which servers write to their logs."""

    text: str
    question: str


@app.post("/contracts", status_code=202)
async def ask(asked: Question) -> dict[str, str]:
    try:
        job = await client.aio.submit(asked.text, asked.question)
    except RequestError as exc:
        raise HTTPException(exc.http_status, exc.message) from exc
    except RefusedError as exc:
        wait = {"Retry-After": str(round(exc.retry_after_s))}
        raise HTTPException(exc.http_status, exc.message, headers=wait) from exc
    return {"id": job.id}


@app.get("/contracts/{job_id}")
async def answer(job_id: str) -> dict[str, str | None]:
    try:
        found = await client.aio.result(job_id)
    except UnknownJob as exc:
        raise HTTPException(404, exc.message) from exc
    except JobFailed as exc:
        return {"answer": None, "error": exc.message}
    return {"answer": found.text if found else None}
