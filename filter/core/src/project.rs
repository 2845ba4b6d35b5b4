//! The projects of Sentry's that spans go to: that of the configuration's `dsn`, and those that
//! rules and routes name instead (filter.md §2). Each has its own queue, limits and reports; all
//! of them share what a worker may keep and send.

use std::array;
use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::dsn::{Dsn, ParseDsnError};

/// How many projects one configuration may have.
pub const MAX_PROJECTS: usize = 16;

/// Where spans go.
#[derive(Clone, PartialEq, Eq)]
pub struct Project {
    /// Its DSN.
    pub dsn: Arc<Dsn>,
    /// The Envoy cluster that takes its callouts.
    pub cluster: Arc<str>,
    /// Its organisation, if known.
    pub org_id: Option<Arc<str>>,
    /// The DSN as a route or a rule has it, with its secret.
    named: Arc<str>,
}

impl Project {
    /// Whether it is another name of the same project.
    fn is_same(&self, other: &Self) -> bool {
        self.dsn == other.dsn && self.cluster == other.cluster
    }
}

/// Without the secret.
impl fmt::Debug for Project {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} through {:?}", self.dsn, self.cluster)
    }
}

/// The place of a project in its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProjectId(u8);

impl ProjectId {
    /// The configuration's own, if it has one, else the first that a rule names.
    pub const FIRST: Self = Self(0);

    /// The place as a number below [`MAX_PROJECTS`].
    pub fn place(self) -> u8 {
        self.0
    }
}

/// What a rule or a route says about the project. It counts as one setting: what it leaves out is
/// the configuration's own.
#[derive(Default, Clone, PartialEq, Eq)]
pub struct ProjectName {
    /// `dsn`; an empty one is no project at all.
    pub dsn: Option<String>,
    /// `transport.cluster`.
    pub cluster: Option<String>,
}

impl ProjectName {
    /// One of what a rule or a route says, if it says something.
    pub fn new(dsn: Option<String>, cluster: Option<String>) -> Option<Self> {
        let cluster = cluster.filter(|cluster| !cluster.is_empty());
        (dsn.is_some() || cluster.is_some()).then_some(Self { dsn, cluster })
    }
}

/// A DSN may have a secret.
impl fmt::Debug for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dsn = self.dsn.as_ref().map_or("no dsn", |_| "a dsn");
        write!(f, "{dsn} through {:?}", self.cluster)
    }
}

/// Why a name is not that of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProjectError {
    /// The DSN is none.
    Dsn(ParseDsnError),
    /// There are [`MAX_PROJECTS`] others.
    TooMany,
}

/// The projects of one configuration. Those of routes are added as requests come; none is ever
/// taken away.
#[derive(Debug, Clone, PartialEq)]
pub struct Projects {
    known: ByProject<Project>,
    /// The configuration's own.
    own: Option<ProjectId>,
    /// `transport.cluster`.
    cluster: Arc<str>,
    /// `org_id`.
    org_id: Option<Arc<str>>,
}

impl Projects {
    /// Those of a configuration that names the project `dsn`, or none, and the organisation
    /// `org_id`, or none.
    pub fn new(dsn: Option<Dsn>, cluster: &str, org_id: Option<&str>) -> Self {
        let mut projects = Self {
            known: ByProject::default(),
            own: None,
            cluster: cluster.into(),
            org_id: org_id.map(Arc::from),
        };
        if let Some(dsn) = dsn {
            let mut own = projects.project(Arc::new(dsn), "", Arc::clone(&projects.cluster));
            own.org_id = projects.org_id.clone().or(own.org_id);
            projects.own = projects.known.add(own);
        }
        projects
    }

    /// A project whose organisation is that of its DSN, else the configured one.
    fn project(&self, dsn: Arc<Dsn>, named: &str, cluster: Arc<str>) -> Project {
        let org_id = dsn.org_id().map(Arc::from);
        Project {
            org_id: org_id.or_else(|| self.org_id.clone()),
            dsn,
            cluster,
            named: named.into(),
        }
    }

    /// The configuration's own.
    pub fn own(&self) -> Option<ProjectId> {
        self.own
    }

    /// The project at a place.
    pub fn get(&self, id: ProjectId) -> Option<&Project> {
        self.known.get(id)
    }

    /// Every project that is known so far, each with its place.
    pub fn iter(&self) -> impl Iterator<Item = (ProjectId, &Project)> {
        self.known.iter()
    }

    /// Whether nothing is recorded, whatever routes say.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The project that a rule or a route means; `None` if it wants none.
    ///
    /// # Errors
    /// If there is no such project, and there can be none.
    pub fn find(&self, name: &ProjectName) -> Result<Option<ProjectId>, ProjectError> {
        let own = self.own.and_then(|own| self.get(own));
        let cluster = name.cluster.as_deref().unwrap_or(&self.cluster);
        let is_known = |known: &Project| match &name.dsn {
            Some(dsn) => known.named.as_ref() == dsn && !dsn.is_empty(),
            None => own.is_some_and(|own| own.dsn == known.dsn),
        };
        let mut known = self.iter();
        let found = known.find(|(_, known)| &*known.cluster == cluster && is_known(known));
        match (found, &name.dsn, own) {
            (Some((id, _)), ..) => Ok(Some(id)),
            (None, Some(dsn), _) if dsn.trim().is_empty() => Ok(None),
            (None, Some(dsn), _) => {
                let parsed = Dsn::parse(dsn).map_err(ProjectError::Dsn)?;
                self.add(Arc::new(parsed), dsn, cluster).map(Some)
            }
            (None, None, Some(own)) => self.add(Arc::clone(&own.dsn), "", cluster).map(Some),
            (None, None, None) => Ok(None),
        }
    }

    #[cold]
    fn add(&self, dsn: Arc<Dsn>, named: &str, cluster: &str) -> Result<ProjectId, ProjectError> {
        let own = self.own.and_then(|own| self.get(own));
        let own = own.filter(|own| own.dsn == dsn);
        let mut project = self.project(dsn, named, cluster.into());
        // Another way to the same project.
        if let Some(own) = own {
            project.org_id.clone_from(&own.org_id);
        }
        self.known.add(project).ok_or(ProjectError::TooMany)
    }
}

/// Something of each project, made once.
#[derive(Debug, Clone, PartialEq)]
pub struct ByProject<T>([OnceLock<T>; MAX_PROJECTS]);

impl<T> Default for ByProject<T> {
    fn default() -> Self {
        Self(array::from_fn(|_| OnceLock::new()))
    }
}

impl<T> ByProject<T> {
    /// That of a project, if it was made.
    pub fn get(&self, id: ProjectId) -> Option<&T> {
        self.0.get(usize::from(id.0))?.get()
    }

    /// That of a project.
    pub fn get_or_make(&self, id: ProjectId, make: impl FnOnce() -> T) -> Option<&T> {
        Some(self.0.get(usize::from(id.0))?.get_or_init(make))
    }

    fn iter(&self) -> impl Iterator<Item = (ProjectId, &T)> {
        let ids = (0..).map(ProjectId);
        ids.zip(self.0.iter().map_while(OnceLock::get))
    }
}

impl ByProject<Project> {
    /// Takes the next free place, unless the project has one. Several workers may do so at once:
    /// whoever comes second to a place sees who has taken it.
    fn add(&self, mut project: Project) -> Option<ProjectId> {
        for (id, place) in (0..).map(ProjectId).zip(&self.0) {
            match place.set(project) {
                Ok(()) => return Some(id),
                Err(refused) if place.get().is_some_and(|known| known.is_same(&refused)) => {
                    return Some(id);
                }
                Err(refused) => project = refused,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    const OWN: &str = "https://own@o1.ingest.sentry.io/1";

    fn named(dsn: &str, cluster: &str) -> ProjectName {
        let some = |text: &str| (text != "-").then(|| text.to_owned());
        ProjectName::new(some(dsn), some(cluster)).unwrap()
    }

    fn projects() -> Projects {
        Projects::new(Dsn::parse(OWN).ok(), "sentry", None)
    }

    #[test]
    fn a_name_is_one_project_however_it_is_written() {
        let projects = projects();
        let find = |dsn, cluster| projects.find(&named(dsn, cluster)).unwrap();
        let own = projects.own();
        for (dsn, cluster) in [(OWN, "-"), (OWN, "sentry"), ("-", "sentry")] {
            assert_eq!(find(dsn, cluster), own, "{dsn} {cluster}");
        }
        let other = find("https://other@o2.ingest.sentry.io/2", "-");
        assert_ne!(other, own);
        for same in [
            "https://other@o2.ingest.sentry.io/2",
            " https://other@o2.ingest.sentry.io:443//2?x ",
        ] {
            assert_eq!(find(same, "sentry"), other, "{same}");
        }
        let through_eu = find("-", "eu");
        assert!(through_eu != own && through_eu != other);
        assert_eq!(find(OWN, "eu"), through_eu);
        for none in ["", " "] {
            assert_eq!(find(none, "eu"), None, "an empty DSN is no project");
        }
        assert_eq!(projects.iter().count(), 3);
    }

    /// The secret is sent, so that it makes another project.
    #[test]
    fn a_secret_belongs_to_the_dsn() {
        let own = Dsn::parse("https://own:hush@o1.ingest.sentry.io/1").ok();
        let projects = Projects::new(own, "sentry", None);
        assert_ne!(
            projects.find(&named(OWN, "-")).unwrap(),
            projects.own(),
            "without the secret"
        );
        let through_eu = projects.find(&named("-", "eu")).unwrap().unwrap();
        let auth = projects.get(through_eu).unwrap().dsn.auth("client");
        assert!(auth.contains("hush"), "{auth}");
        let other = named("https://other:hush@o2.ingest.sentry.io/2", "eu");
        assert!(projects.find(&other).unwrap().is_some());
        let shown = format!("{projects:?} {other:?}");
        assert!(!shown.contains("hush"), "{shown}");
        assert!(
            shown.contains("https://other@o2.ingest.sentry.io/2"),
            "{shown}"
        );
    }

    #[test]
    fn there_are_sixteen_and_no_more() {
        let projects = projects();
        let dsn = |number: usize| named(&format!("https://key@host/{number}"), "-");
        for number in 1..MAX_PROJECTS {
            assert!(projects.find(&dsn(number)).unwrap().is_some());
        }
        let too_many = Err(ProjectError::TooMany);
        assert_eq!(projects.find(&dsn(MAX_PROJECTS)), too_many);
        assert!(projects.find(&dsn(1)).is_ok(), "those that are known stay");
        let wrong = projects.find(&named("https://host/1", "-"));
        assert!(matches!(wrong, Err(ProjectError::Dsn(_))));
    }

    #[test]
    fn without_an_own_project_a_cluster_alone_is_none() {
        let projects = Projects::new(None, "sentry", None);
        assert!(projects.is_empty());
        assert_eq!(projects.find(&named("-", "eu")), Ok(None));
        assert!(projects.find(&named(OWN, "-")).unwrap().is_some());
        assert_eq!(projects.own(), None);
    }

    #[test]
    fn the_organisation_is_the_dsns_else_the_configured_one() {
        let own = Dsn::parse(OWN).ok();
        let projects = Projects::new(own, "sentry", Some("7"));
        let org_id = |id: Option<ProjectId>| projects.get(id.unwrap()).unwrap().org_id.clone();
        let of = |dsn| org_id(projects.find(&named(dsn, "-")).unwrap());
        assert_eq!(org_id(projects.own()).as_deref(), Some("7"));
        assert_eq!(of("https://k@o2.ingest.sentry.io/2").as_deref(), Some("2"));
        assert_eq!(of("https://k@sentry.test/2").as_deref(), Some("7"));
        for dsn in ["-", OWN] {
            let through_eu = projects.find(&named(dsn, "eu")).unwrap();
            assert_eq!(org_id(through_eu).as_deref(), Some("7"), "{dsn}");
        }
    }

    /// Else each of them would take a place for it, of which there are few.
    #[test]
    fn workers_that_find_one_at_the_same_time_find_the_same() {
        for round in 0..100 {
            let (projects, barrier) = (projects(), Barrier::new(4));
            let find_all = || {
                barrier.wait();
                let name = |number: usize| named(&format!("https://key@host/{number}"), "-");
                (1..8).for_each(|number| assert!(projects.find(&name(number)).is_ok()));
            };
            std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(find_all))));
            assert_eq!(projects.iter().count(), 8, "round {round}");
        }
    }
}
