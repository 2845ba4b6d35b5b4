//! Snapshots that are the same through both doors, but for what a dynamic module is not told.

use e2e::{door, Door};
use insta::{comparator::Comparator, internals::SnapshotContents, Snapshot};

/// Whether two texts say the same, but for how long a request waited for its connection.
#[derive(Clone, Debug)]
struct WithoutPoolWait;

fn lines(snapshot: &Snapshot) -> Vec<String> {
    let SnapshotContents::Text(text) = snapshot.contents() else {
        panic!("a snapshot that is no text");
    };
    text.to_string()
        .lines()
        .filter(|line| !line.trim_start().starts_with("envoy.pool_wait_ms: "))
        .map(str::to_owned)
        .collect()
}

impl Comparator for WithoutPoolWait {
    fn matches(&self, reference: &Snapshot, test: &Snapshot) -> bool {
        lines(reference) == lines(test)
    }

    fn dyn_clone(&self) -> Box<dyn Comparator> {
        Box::new(self.clone())
    }
}

/// How the snapshots of a test are compared, for as long as the result lives.
pub fn compare() -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    if door() == Door::Native {
        settings.set_comparator(Box::new(WithoutPoolWait));
    }
    settings.bind_to_scope()
}
