//! Waiting for what another process does: by asking again until a deadline, never by a fixed pause.

use std::time::Duration;

use tokio::time::{sleep, timeout};

pub use mini_sentry::DEADLINE;

const PAUSE: Duration = Duration::from_millis(10);

/// Asks until there is an answer; `None` if there is none within [`DEADLINE`].
pub async fn eventually<T>(ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    eventually_within(DEADLINE, ask).await
}

/// The same with another deadline, for what is slow by design.
pub async fn eventually_within<T>(
    deadline: Duration,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> Option<T> {
    let answered = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            sleep(PAUSE).await;
        }
    };
    timeout(deadline, answered).await.ok()
}
