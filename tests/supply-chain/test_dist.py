"""What a release is made of is the same each time: `python3 -m unittest discover tests/supply-chain`."""

import copy
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "filter" / "tools"))

from archive import pack  # noqa: E402
from sbom import tidy  # noqa: E402

BOM = {
    "serialNumber": "urn:uuid:4f1ed5b0",
    "metadata": {"timestamp": "2026-11-27T00:00:00Z", "component": {"name": "sentry-filter", "version": "1", "bom-ref": "a"}},
    "components": [
        {"name": "serde", "version": "2", "bom-ref": "c", "purl": "pkg:cargo/serde@2"},
        {"name": "proxy-wasm", "version": "3", "bom-ref": "path+file:///home/me/filter/vendor"},
    ],
    "dependencies": [{"ref": "c"}, {"ref": "a", "dependsOn": ["path+file:///home/me/filter/vendor", "c"]}],
}


class Parts(unittest.TestCase):
    def test_the_list_has_no_time_no_number_and_no_place(self):
        tidied = tidy(copy.deepcopy(BOM))
        self.assertNotIn("serialNumber", tidied)
        self.assertNotIn("timestamp", tidied["metadata"])
        self.assertNotIn("/home/me", str(tidied))
        self.assertEqual([part["bom-ref"] for part in tidied["components"]], ["pkg:cargo/proxy-wasm@3", "pkg:cargo/serde@2"])
        self.assertEqual(tidied["dependencies"][0]["dependsOn"], ["pkg:cargo/proxy-wasm@3", "pkg:cargo/serde@2"])

    def test_another_order_and_another_place_make_the_same_list(self):
        other = copy.deepcopy(BOM)
        other["serialNumber"] = "urn:uuid:0"
        other["components"].reverse()
        other["dependencies"].reverse()
        other["components"][0]["bom-ref"] = other["dependencies"][0]["dependsOn"][0] = "path+file:///elsewhere"
        self.assertEqual(tidy(other), tidy(copy.deepcopy(BOM)))

    def test_the_changed_crate_has_its_address(self):
        part = tidy(copy.deepcopy(BOM))["components"][0]
        self.assertEqual(part["purl"], "pkg:cargo/proxy-wasm@3")
        self.assertIn("filter/vendor/README.md", part["pedigree"]["notes"])


class Archive(unittest.TestCase):
    def test_it_is_the_same_whenever_and_by_whomever_it_is_packed(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "a")
            file.write_bytes(b"\x7fELF")
            first = pack({"a": file, "b": file})
            file.unlink()
            file.write_bytes(b"\x7fELF")
            file.chmod(0o600)
            self.assertEqual(pack({"b": file, "a": file}), first)


if __name__ == "__main__":
    unittest.main()
