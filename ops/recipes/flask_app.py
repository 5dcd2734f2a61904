"""A Flask backend that asks documents. Run: flask --app ops.recipes.flask_app run"""

from flask import Flask, jsonify, request

from glyph_worker import Client, GlyphError

app = Flask(__name__)
client = Client.from_env()  # thread-safe: one per process


@app.errorhandler(GlyphError)
def problem(exc: GlyphError):
    return jsonify(exc.to_wire()), exc.http_status


@app.post("/contracts")
def ask():
    body = request.get_json()
    job = client.submit(body["text"], body["question"])
    return jsonify(id=job.id), 202


@app.get("/contracts/<job_id>")
def answer(job_id: str):
    found = client.result(job_id)
    return jsonify(answer=found.text if found else None)
