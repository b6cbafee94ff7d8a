"""The transcripts, and what they need to be told."""

import json
from pathlib import Path

from .transcript import FOLDER

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = ROOT / "sample" / "contracts" / "采购合同.txt"
FLOWS = sorted(path.stem for path in FOLDER.glob("*.txt"))
UPLOAD = json.dumps(
    {"text": CONTRACT.read_text(encoding="utf-8"), "contract_type": "purchase", "role": "buyer"}, ensure_ascii=False
)
"""What `POST /v1/reviews` is sent."""
