//! The keys that name a project: `dsn`, and `transport.cluster` beside it.

use super::option::{Group, Setting, Text};
use super::options::{rule, rule_transport};
use super::reader::Section;
use crate::dsn::{Dsn, ParseDsnError};
use crate::project::{ProjectError, ProjectId, ProjectName, Projects, MAX_PROJECTS};

impl Section<'_> {
    /// The DSN at the top level, else that of an environment variable.
    pub(super) fn dsn(&mut self, option: &Setting<Text>, variable: Option<&str>) -> Option<Dsn> {
        let key = option.key;
        let (path, text) = match self.secret_text(option) {
            Some(text) => (self.path(key), text),
            None if self.has_read(key) => return None,
            None => (
                "environment variable SENTRY_DSN".to_owned(),
                variable?.to_owned(),
            ),
        };
        if text.trim().is_empty() {
            return None;
        }
        Dsn::parse(&text)
            .map_err(|error| self.no_dsn(path, error))
            .ok()
    }

    #[cold]
    fn no_dsn(&mut self, path: String, error: ParseDsnError) {
        self.problem(
            path,
            format!("expected a DSN such as https://<public key>@o1.ingest.sentry.io/<project id>, found {error}"),
        );
    }

    /// The project that a rule names, which is known from here on.
    pub(super) fn project(&mut self, projects: &Projects) -> Option<Option<ProjectId>> {
        let name = self.project_name(&rule::TRANSPORT)?;
        let found = projects.find(&name);
        let path = |key: &str| self.path(key);
        match found {
            Ok(project) => return Some(project),
            Err(ProjectError::Dsn(error)) => self.no_dsn(path(rule::DSN.key), error),
            Err(ProjectError::TooMany) => self.problem(
                path(rule::DSN.key),
                format!("expected at most {MAX_PROJECTS} projects, found another one"),
            ),
        }
        None
    }

    /// The project that a route names. Which ones there are is known when requests come.
    pub(super) fn route_project(&mut self) -> Option<ProjectName> {
        let flat = self.text_of("transport.cluster");
        let mut name = self.project_name(&rule::TRANSPORT);
        if let Some(cluster) = flat.filter(|cluster| !cluster.is_empty()) {
            name.get_or_insert_default().cluster = Some(cluster);
        }
        let dsn = name.as_ref().and_then(|name| name.dsn.as_deref());
        let dsn = dsn.filter(|dsn| !dsn.trim().is_empty()).map(Dsn::parse);
        if let Some(Err(error)) = dsn {
            self.no_dsn(self.path(rule::DSN.key), error);
        }
        name
    }

    fn project_name(&mut self, transport: &Setting<Group>) -> Option<ProjectName> {
        let dsn = self.secret_text(&rule::DSN);
        let mut transport = self.section(transport);
        let cluster = transport.cluster(&rule_transport::CLUSTER);
        transport.finish();
        ProjectName::new(dsn, Some(cluster))
    }
}
