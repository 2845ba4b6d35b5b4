//! Reports for people.

use std::sync::Arc;

use serde_json::Value;

use crate::check::Report;
use crate::doctor::{Diagnosis, State};
use crate::finding::location;
use crate::send_test::Test;

/// Reports, line by line, each with its end. With `quiet` only what is wrong.
pub fn reports(reports: &[Report], quiet: bool) -> String {
    let shown = reports.iter().filter(|report| !quiet || report.is_bad());
    let mut lines: Vec<String> = shown.flat_map(|report| lines(report, quiet)).collect();
    if reports.len() > 1 && !(quiet && lines.is_empty()) {
        let problems: usize = reports.iter().map(|report| report.problems.len()).sum();
        let warnings: usize = reports.iter().map(|report| report.warnings.len()).sum();
        lines.push(format!(
            "{} configurations: {problems} problems, {warnings} warnings",
            reports.len()
        ));
    }
    lines
        .into_iter()
        .flat_map(|line| [line, "\n".to_owned()])
        .collect()
}

fn lines(report: &Report, quiet: bool) -> Vec<String> {
    let file: Option<Arc<str>> = report.file.as_deref().map(Arc::from);
    let head = match (&report.file, report.line) {
        (Some(file), Some(line)) => format!("{file}:{line}: {}", report.place),
        (Some(file), None) if *file != report.place => format!("{file}: {}", report.place),
        _ => report.place.clone(),
    };
    let mut lines = vec![head];
    for problem in &report.problems {
        let place = location(file.as_ref(), problem.line.unwrap_or_default());
        match problem.path.as_str() {
            "" => lines.push(format!("  problem: {}{place}", problem.message)),
            path => lines.push(format!("  problem: {path}: {}{place}", problem.message)),
        }
    }
    for warning in &report.warnings {
        lines.push(format!("  warning: {warning}"));
    }
    if let Some(effective) = report.effective.as_ref().filter(|_| !quiet) {
        lines.push("  the filter takes it; in effect:".to_owned());
        options("", effective, &mut lines);
    }
    for what in report.not_traced.iter().filter(|_| !quiet) {
        lines.push(format!("  no span for {what}"));
    }
    if let Some(explanation) = &report.explanation {
        if let Some(project) = &explanation.project {
            lines.push(format!("  project: {project}"));
        }
        lines.push(format!("  trace: {}", explanation.trace));
        for refused in &explanation.refused {
            lines.push(format!("  refused: {refused}"));
        }
        lines.push(format!("  sampling: {}", explanation.sampling));
        let span = explanation.span.as_deref().unwrap_or("none");
        lines.push(format!("  span: {span}"));
        for header in &explanation.headers {
            lines.push(format!("  upstream gets: {header}"));
        }
        if explanation.headers.is_empty() {
            lines.push("  upstream gets the request as it is".to_owned());
        }
        for header in &explanation.unchanged {
            lines.push(format!("  upstream gets, as it came: {header}"));
        }
    }
    for test in report.test.iter().chain(&report.tests_of_rules) {
        lines.push(format!("  test span to {}", answer(test)));
        if let Some(trace_id) = test.trace_id.as_ref().filter(|_| test.accepted) {
            lines.push(format!("  its trace: {trace_id}"));
        }
    }
    for one in &report.formats {
        let configured = if one.is_configured {
            " (configured)"
        } else {
            ""
        };
        lines.push(format!(
            "  format {}{configured}: {}: {}",
            one.format,
            one.verdict.as_str(),
            answer(&one.test)
        ));
    }
    lines
}

fn answer(test: &Test) -> String {
    let status = test
        .status
        .map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    format!("{}: {status}: {}", test.url, test.meaning)
}

/// Options as `key: value`, in the order of their names; what is not set is left out.
fn options(prefix: &str, values: &Value, lines: &mut Vec<String>) {
    for (key, value) in values.as_object().into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::Object(_) => options(&format!("{prefix}{key}."), value, lines),
            other => lines.push(format!("    {prefix}{key}: {other}")),
        }
    }
}

/// What a doctor says, line by line. With `quiet` only what is wrong.
pub fn diagnosis(diagnosis: &Diagnosis, quiet: bool) -> String {
    let mut lines = Vec::new();
    if !quiet {
        lines.push(diagnosis.admin.clone());
    }
    for symptom in &diagnosis.symptoms {
        let state = match symptom.state {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Problem => "problem",
        };
        if quiet && symptom.state == State::Ok {
            continue;
        }
        lines.push(format!("  {state}: {}", symptom.what));
        if let Some(advice) = &symptom.advice {
            lines.push(format!("    {advice}"));
        }
    }
    if !quiet {
        lines.push(format!("verdict: {}", diagnosis.verdict));
    }
    lines
        .into_iter()
        .flat_map(|line| [line, "\n".to_owned()])
        .collect()
}
