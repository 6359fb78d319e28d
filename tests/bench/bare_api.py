"""The baseline of submits: `python -m tests.bench.bare_api DB PORT`, FastAPI with one durable commit a request."""

import json
import sqlite3
import sys
import threading
from typing import Any

import uvicorn
from fastapi import FastAPI


def create_app(database: str) -> FastAPI:
    app = FastAPI()
    connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY, body TEXT)")
    lock = threading.Lock()

    @app.post("/api/training/jobs", status_code=201)
    def submit(body: dict[str, Any]) -> dict[str, Any]:
        with lock:
            added = connection.execute("INSERT INTO jobs (body) VALUES (?)", (json.dumps(body),))
        return {"id": added.lastrowid}

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
