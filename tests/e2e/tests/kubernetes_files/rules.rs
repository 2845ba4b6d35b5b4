//! The rules in CEL that Kubernetes' definitions carry (`x-kubernetes-validations`), evaluated as
//! its API server does: over the resource with the defaults of its definition, `self` being the
//! part that the rule stands at.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use cel::{extensions, extractors::This, Context, Env, Value as Cel};
use serde_json::Value;
use url::Url;

/// What became of the rules for one resource.
#[derive(Debug, Default)]
pub struct Verdict {
    /// How often a rule was evaluated.
    pub evaluated: usize,
    /// The broken rules, with their place, and those that could not be evaluated.
    pub problems: Vec<String>,
}

/// Evaluates every rule of a schema that stands at a part which a resource has.
pub fn evaluate(schema: &Value, resource: &Value) -> Verdict {
    let mut resource = resource.clone();
    set_defaults(schema, &mut resource);
    let mut verdict = Verdict::default();
    visit(schema, &resource, "", &standard(), &mut verdict);
    verdict
}

/// Every rule of a schema, each once, with the reason why it cannot be read if there is one.
pub fn all(schema: &Value) -> BTreeSet<(String, Option<String>)> {
    let env = standard();
    let mut rules = BTreeSet::new();
    let mut waiting = vec![schema];
    while let Some(value) = waiting.pop() {
        for rule in rules_at(value) {
            let error = env.compile(rule).err().map(|error| error.to_string());
            rules.insert((rule.to_owned(), error));
        }
        match value {
            Value::Object(fields) => waiting.extend(fields.values()),
            Value::Array(items) => waiting.extend(items),
            _ => {}
        }
    }
    rules
}

fn rules_at(schema: &Value) -> impl Iterator<Item = &str> {
    let rules = schema["x-kubernetes-validations"].as_array();
    let rules = rules.into_iter().flatten();
    rules.map(|rule| rule["rule"].as_str().expect("a rule's text"))
}

/// CEL with the strings of its extension, as in Kubernetes.
fn standard() -> Arc<Env> {
    let mut env = Env::stdlib();
    env.add_extension(extensions::strings)
        .expect("an extension");
    Arc::new(env)
}

/// The parts of Kubernetes' own library that its definitions use here: URLs.
fn add_urls(context: &mut Context<'_, '_>) {
    let is_url = |text: Arc<String>| text.starts_with('/') || Url::parse(&text).is_ok();
    let scheme = |This(url): This<Arc<String>>| {
        Url::parse(&url).map_or_else(|_| String::new(), |url| url.scheme().to_owned())
    };
    let added = [
        context.add_function("isURL", is_url),
        context.add_function("url", |text: Arc<String>| text),
        context.add_function("getScheme", scheme),
    ];
    assert!(added.iter().all(Result::is_ok), "{added:?}");
}

fn visit(schema: &Value, part: &Value, path: &str, env: &Arc<Env>, verdict: &mut Verdict) {
    for rule in rules_at(schema) {
        verdict.evaluated += 1;
        let mut context = Context::with_env(env.clone());
        add_urls(&mut context);
        context.add_variable_from_value("self", to_cel(part));
        let program = env.compile(rule).map_err(|error| error.to_string());
        let result = program.and_then(|program| {
            let result = program.execute(&context);
            result.map_err(|error| error.to_string())
        });
        if result != Ok(Cel::Bool(true)) {
            verdict.problems.push(format!("{path}: {rule}: {result:?}"));
        }
    }
    let any = &schema["additionalProperties"];
    for (key, value) in part.as_object().into_iter().flatten() {
        let own = schema["properties"].get(key).unwrap_or(any);
        visit(own, value, &format!("{path}.{key}"), env, verdict);
    }
    for (index, value) in part.as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}[{index}]");
        visit(&schema["items"], value, &path, env, verdict);
    }
}

fn set_defaults(schema: &Value, part: &mut Value) {
    match part {
        Value::Object(fields) => {
            for (key, own) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(default) = own.get("default") {
                    fields.entry(key).or_insert_with(|| default.clone());
                }
            }
            for (key, value) in fields {
                let own = schema["properties"].get(key);
                set_defaults(own.unwrap_or(&schema["additionalProperties"]), value);
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| set_defaults(&schema["items"], item)),
        _ => {}
    }
}

/// Numbers without a fraction are of CEL's type `int` in Kubernetes, whatever their sign.
fn to_cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(flag) => Cel::Bool(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Cel::Int(number),
            None => Cel::Float(number.as_f64().expect("a number")),
        },
        Value::String(text) => Cel::from(text.as_str()),
        Value::Array(items) => Cel::from(items.iter().map(to_cel).collect::<Vec<_>>()),
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|(key, value)| (key.clone(), to_cel(value)));
            Cel::from(fields.collect::<HashMap<_, _>>())
        }
    }
}
