"""A web application that sends tasks: FastAPI answers at once, a worker does the work."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from fastapi import FastAPI, HTTPException

from taskq import PublishFailed, default_app, task


@task("invoice", queue="invoices")
def invoice(customer: str, amount: int) -> None:
    """Run in a worker."""
    print(f"worker: {customer} owes {amount}", flush=True)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Close the connection to the broker when the server stops; the first task opens it."""
    yield
    default_app.close()


app = FastAPI(lifespan=lifespan)


@app.post("/invoices/{customer}", status_code=202)
async def order(customer: str, amount: int) -> dict[str, str]:
    """Answer when Kafka has acknowledged the task, or say that it may not have been sent."""
    try:
        result = await invoice.adelay(customer, amount)
    except PublishFailed as error:
        raise HTTPException(503, str(error)) from error
    return {"queue": result.queue}


async def post() -> None:
    """Be a client; a real one would talk to `uvicorn shop:app`."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        answer = await client.post("/invoices/ACME", params={"amount": 3})
    if answer.is_error:
        sys.exit(f"client: {answer.status_code} {answer.json()['detail']}")
    print(f"client: {answer.status_code} {answer.json()}")


def main() -> None:
    """Post an invoice and run a worker until it is written."""
    asyncio.run(post())
    command = [sys.executable, "-m", "taskq", "worker", "-A", "shop", "-c", "1"]
    folder = Path(__file__).parent
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        print(worker.stdout.readline(), end="")
        worker.terminate()


if __name__ == "__main__":
    main()
