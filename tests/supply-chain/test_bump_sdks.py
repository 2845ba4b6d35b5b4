"""Which versions `make bump-sdks` takes."""

import unittest

from bump_sdks import bumped, newest

VERSIONS = ["8.9.0", "8.55.2", "10.78.0", "11.0.0-beta.1", "11.2.0", "11.12.0", "12.0.0-alpha.0"]


class TestVersions(unittest.TestCase):
    def test_the_newest_is_no_pre_release_and_no_text(self):
        self.assertEqual(newest(VERSIONS), "11.12.0")
        self.assertEqual(newest(VERSIONS, "8"), "8.55.2")

    def test_a_major_version_that_is_not_there_is_an_error(self):
        with self.assertRaises(SystemExit):
            newest(VERSIONS, "9")

    def test_what_has_a_major_version_in_its_name_keeps_it(self):
        asked = []

        def versions_of(package):
            asked.append(package)
            return VERSIONS

        self.assertEqual(bumped("browser-8", "npm:@sentry/browser@8.0.0", versions_of), "npm:@sentry/browser@8.55.2")
        self.assertEqual(bumped("@sentry/vue", "10.0.0", versions_of), "11.12.0")
        self.assertEqual(bumped("vue", "3.5.45", versions_of), "3.5.45")
        self.assertEqual(asked, ["@sentry/browser", "@sentry/vue"])


if __name__ == "__main__":
    unittest.main()
