//! The built module with a trap in it, for tests of what a crash costs: the shipped one has none
//! that is known.

use std::{fs, path::PathBuf};

use tempfile::TempDir;
use wasm_encoder::{
    reencode::{utils, Error, Reencode},
    BlockType, CodeSection, Instruction, Module,
};
use wasmparser::{ExternalKind, FunctionBody, Parser, Payload, TypeRef};

use crate::envoy;

/// How many header lines of a request spring the trap.
pub const LINES: i32 = 70;

/// The callback in which it lies: `(context, number of header lines, end of stream)`.
const CALLBACK: &str = "proxy_on_request_headers";
const NUMBER_OF_LINES: u32 = 1;

/// A module that dies of a request with at least [`LINES`] header lines; the file goes when this is
/// dropped.
#[derive(Debug)]
pub struct TrappedModule {
    folder: TempDir,
}

impl TrappedModule {
    /// The built module, changed in that one place.
    ///
    /// # Panics
    /// If the module is not there, or not one that Envoy would load.
    pub fn build() -> Self {
        let original = fs::read(envoy::module()).expect("the built module");
        let mut module = Module::new();
        Trap::of(&original)
            .parse_core_module(&mut module, Parser::new(0), &original)
            .expect("a module that can be written again");
        let folder = TempDir::new().expect("a folder for the module");
        let this = Self { folder };
        fs::write(this.path(), module.finish()).expect("the module written");
        this
    }

    /// Where it lies.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("trapped.wasm")
    }
}

/// Writes a module again, function by function.
struct Trap {
    /// How many functions come before the one that gets the trap.
    functions_before: u32,
}

impl Trap {
    fn of(module: &[u8]) -> Self {
        let (mut imported, mut callback) = (0, None);
        for payload in Parser::new(0).parse_all(module) {
            match payload.expect("a part of a module") {
                Payload::ImportSection(imports) => {
                    let imports = imports
                        .into_imports()
                        .map(|import| import.expect("an import").ty);
                    imported = imports.filter(|ty| matches!(ty, TypeRef::Func(_))).count();
                }
                Payload::ExportSection(exports) => {
                    let mut exports = exports.into_iter().map(|export| export.expect("an export"));
                    callback = exports
                        .find(|export| export.name == CALLBACK && export.kind == ExternalKind::Func)
                        .map(|export| export.index);
                }
                _ => {}
            }
        }
        let callback = callback.expect("the callback among the exports");
        let imported = u32::try_from(imported).expect("few imports");
        Self {
            functions_before: callback - imported,
        }
    }
}

impl Reencode for Trap {
    type Error = std::convert::Infallible;

    fn parse_function_body(
        &mut self,
        code: &mut CodeSection,
        body: FunctionBody<'_>,
    ) -> Result<(), Error<Self::Error>> {
        let before = self.functions_before;
        self.functions_before = before.wrapping_sub(1);
        if before != 0 {
            return utils::parse_function_body(self, code, body);
        }
        let mut function = self.new_function_with_parsed_locals(&body)?;
        for instruction in [
            Instruction::LocalGet(NUMBER_OF_LINES),
            Instruction::I32Const(LINES),
            Instruction::I32GeS,
            Instruction::If(BlockType::Empty),
            Instruction::Unreachable,
            Instruction::End,
        ] {
            function.instruction(&instruction);
        }
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            function.instruction(&self.parse_instruction(&mut operators)?);
        }
        code.function(&function);
        Ok(())
    }
}
