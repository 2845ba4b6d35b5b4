//! What the traces of each project have in common that begin here.

use std::sync::Arc;

use super::dsc::Labels;
use crate::project::{ByProject, Project, ProjectId};
use crate::sampling::SampleRate;

/// The labels of every project: they differ in public key and organisation.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct LabelsByProject {
    environment: Arc<str>,
    release: Option<Arc<str>>,
    rate: Option<SampleRate>,
    made: ByProject<Labels>,
}

impl LabelsByProject {
    /// Those of a gateway: its environment, its release if that is known, and the rate that usually
    /// decides.
    pub fn new(
        environment: &Arc<str>,
        release: Option<&Arc<str>>,
        rate: Option<SampleRate>,
    ) -> Self {
        Self {
            environment: Arc::clone(environment),
            release: release.cloned(),
            rate,
            made: ByProject::default(),
        }
    }

    /// Those of a project.
    pub fn of(&self, id: ProjectId, project: &Project) -> Option<&Labels> {
        self.made.get_or_make(id, || {
            let (release, org_id) = (self.release.as_ref(), project.org_id.as_ref());
            let key = project.dsn.public_key();
            Labels::new(key, &self.environment, release, org_id, self.rate)
        })
    }
}
