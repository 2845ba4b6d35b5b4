//! Envoy's functions for expressions (CEL) over attributes, as far as the module uses them:
//! `has(a.b)?[c.d,e.f]:[g.h]`.

use crate::call::{Answer, Call, Fault};
use crate::maps::HeaderMap;
use crate::state::{path_key, status};

/// An expression that was read.
#[derive(Clone, Debug)]
pub(crate) struct Expression {
    condition: String,
    then: Vec<String>,
    otherwise: Vec<String>,
}

impl Expression {
    fn parse(text: &str) -> Option<Self> {
        let (condition, lists) = text.strip_prefix("has(")?.split_once(")?")?;
        let (then, otherwise) = lists.split_once(':')?;
        Some(Self {
            condition: path(condition)?,
            then: list(then)?,
            otherwise: list(otherwise)?,
        })
    }
}

fn list(text: &str) -> Option<Vec<String>> {
    let items = text.strip_prefix('[')?.strip_suffix(']')?;
    items.split(',').map(path).collect()
}

fn path(text: &str) -> Option<String> {
    let is_part =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    text.split('.').all(is_part).then(|| text.to_owned())
}

/// Runs one of the functions, by its name.
pub(crate) fn call_foreign_function(call: &mut Call<'_, '_>) -> Answer {
    let (name, argument) = (call.bytes(0)?, call.bytes(2)?);
    let token = || Some(u32::from_le_bytes(argument.as_slice().try_into().ok()?));
    match name.as_slice() {
        b"expr_create" => {
            let text = String::from_utf8_lossy(&argument).into_owned();
            let expression = Expression::parse(&text).ok_or(Fault::Status(status::BAD_ARGUMENT))?;
            let token = call.state().next_expression;
            call.state().next_expression += 1;
            call.state().expressions.insert(token, expression);
            call.return_bytes(4, &token.to_le_bytes())
        }
        b"expr_evaluate" => {
            let found = token().and_then(|token| call.state().expressions.get(&token).cloned());
            let expression = found.ok_or(Fault::Status(status::NOT_FOUND))?;
            let list =
                evaluate(call, &expression).ok_or(Fault::Status(status::INTERNAL_FAILURE))?;
            call.return_bytes(4, &list.encode())
        }
        b"expr_delete" => {
            let found = token().and_then(|token| call.state().expressions.remove(&token));
            found.map(drop).ok_or(Fault::Status(status::NOT_FOUND))
        }
        _ => Err(Fault::Status(status::NOT_FOUND)),
    }
}

/// A list comes as a map whose names are the values (seen on Envoy 1.40); an attribute that is not
/// there is an error of the whole expression.
fn evaluate(call: &mut Call<'_, '_>, expression: &Expression) -> Option<HeaderMap> {
    let mut attribute = |name: &str| {
        let path = path_key(&name.split('.').collect::<Vec<_>>());
        call.state().attribute(&path)
    };
    let names = match attribute(&expression.condition) {
        Some(_) => &expression.then,
        None => &expression.otherwise,
    };
    let mut list = HeaderMap::new();
    for name in names {
        list.add(attribute(name)?, "");
    }
    Some(list)
}
