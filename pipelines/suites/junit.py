"""A report as JUnit XML, for programs that show test results: one case for each case, and one for each gate."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any

# What XML 1.0 cannot hold at all. Source: https://www.w3.org/TR/xml/#charsets
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(body: Mapping[str, Any]) -> bytes:
    """Return the document, UTF-8. A case without a whole result is an error, one set aside by decision is skipped."""
    root = ET.Element("testsuites", name="tidegate")
    name = body["suite"]["name"]
    suite = ET.SubElement(root, "testsuite", name=name, timestamp=body["started"].removesuffix("Z"))
    seconds = 0.0
    for case in body["cases"]:
        spent = sum(attempt["milliseconds"] for attempt in case["attempts"]) / 1000
        seconds += spent
        item = ET.SubElement(
            suite, "testcase", classname=f"{name}.{case['cluster']}", name=case["id"], time=f"{spent:.3f}"
        )
        reasons = [reason for attempt in case["attempts"] for reason in attempt["reasons"]]
        if case["outcome"] != "passed":
            kind = "skipped" if case.get("quarantined") else _KINDS[case["outcome"]]
            _said(item, kind, reasons or ["there is no whole result"])
    for gate in body["gates"]:
        item = ET.SubElement(suite, "testcase", classname=f"{name}.gates", name=gate["metric"], time="0.000")
        outcome = gate.get("outcome", "HELD" if gate["held"] else "FAILED")
        if outcome != "HELD":
            _said(item, "failure", [f"{outcome}: {why}" for why in gate.get("why", [])])
    _counted(suite)
    suite.set("time", f"{seconds:.3f}")
    made: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return made + b"\n"


_KINDS = {"failed": "failure", "without-result": "error"}


def _said(item: ET.Element, kind: str, reasons: list[str]) -> None:
    told = ET.SubElement(item, kind, message=_fit(reasons[0]) if reasons else "")
    told.text = _fit("\n".join(reasons))


def _fit(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)


def _counted(suite: ET.Element) -> None:
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("tests", str(len(suite.findall("testcase"))))
