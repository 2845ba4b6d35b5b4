//! One call from the module into the host: its arguments, the module's memory, and the host's
//! state.

use wasmi::{AsContextMut, Caller, Extern, Memory, Val, ValType};

use crate::state::{status, State, Twist};

/// How a host call ends when it does not end with `Ok`.
pub(crate) enum Fault {
    /// The module gets this status.
    Status(u32),
    /// The module traps, or is stopped.
    Trap(wasmi::Error),
}

/// What an import answers: a status, where 0 is `Ok`.
pub(crate) type Answer = Result<(), Fault>;

/// One import that Envoy offers.
pub(crate) struct Import {
    /// Its name.
    pub name: &'static str,
    /// Its parameters, `i` for i32 and `I` for i64. All but `proc_exit` return an i32.
    pub params: &'static str,
    /// What it does.
    pub run: fn(&mut Call<'_, '_>) -> Answer,
}

impl Import {
    /// The parameters as Wasm types.
    pub fn params(&self) -> Vec<ValType> {
        let letters = self.params.chars();
        letters
            .map(|letter| {
                if letter == 'I' {
                    ValType::I64
                } else {
                    ValType::I32
                }
            })
            .collect()
    }
}

/// The call under way.
pub(crate) struct Call<'a, 'c> {
    pub caller: &'a mut Caller<'c, State>,
    pub name: &'static str,
    pub args: &'a [Val],
    /// What an address that is not in memory answers: the ABI and WASI have a number each.
    pub bad_address: u32,
}

impl Call<'_, '_> {
    /// The host's state.
    pub fn state(&mut self) -> &mut State {
        self.caller.data_mut()
    }

    /// A 32-bit argument.
    pub fn arg(&self, index: usize) -> u32 {
        match self.args.get(index) {
            Some(Val::I32(value)) => value.cast_unsigned(),
            other => panic!("{}: argument {index} is {other:?}", self.name),
        }
    }

    /// A 64-bit argument.
    pub fn arg64(&self, index: usize) -> i64 {
        match self.args.get(index) {
            Some(Val::I64(value)) => *value,
            other => panic!("{}: argument {index} is {other:?}", self.name),
        }
    }

    /// The bytes that the arguments `index` (address) and `index + 1` (length) point to.
    pub fn bytes(&mut self, index: usize) -> Result<Vec<u8>, Fault> {
        let (at, len) = (self.arg(index), self.arg(index + 1));
        self.bytes_at(at, len)
    }

    /// The bytes at an address.
    pub fn bytes_at(&mut self, at: u32, len: u32) -> Result<Vec<u8>, Fault> {
        let memory = self.memory()?;
        let data = memory.data(&*self.caller);
        let end = (at as usize).checked_add(len as usize);
        end.and_then(|end| data.get(at as usize..end))
            .map(<[u8]>::to_vec)
            .ok_or(Fault::Status(self.bad_address))
    }

    /// Writes bytes to an address.
    pub fn write(&mut self, at: u32, bytes: &[u8]) -> Answer {
        let memory = self.memory()?;
        memory
            .write(self.caller.as_context_mut(), at as usize, bytes)
            .map_err(|_| Fault::Status(self.bad_address))
    }

    /// Writes a 32-bit number to the address that an argument names.
    pub fn write_u32(&mut self, index: usize, value: u32) -> Answer {
        self.write(self.arg(index), &value.to_le_bytes())
    }

    /// Writes a 64-bit number to the address that an argument names.
    pub fn write_u64(&mut self, index: usize, value: u64) -> Answer {
        self.write(self.arg(index), &value.to_le_bytes())
    }

    /// Returns bytes to the module: allocates there, and writes address and length to where the
    /// arguments `index` and `index + 1` point. Empty values are a null pointer, as in Envoy.
    pub fn return_bytes(&mut self, index: usize, bytes: &[u8]) -> Answer {
        let name = self.name;
        let (bytes, null) = match self.state().twist(name) {
            None => (bytes.to_vec(), bytes.is_empty()),
            Some(Twist::Null) => (Vec::new(), true),
            Some(Twist::Empty) => (Vec::new(), false),
            Some(Twist::Bytes(bytes)) => (bytes, false),
        };
        let len = u32::try_from(bytes.len()).expect("a value below 4 GiB");
        let at = if null { 0 } else { self.allocate(len)? };
        self.write(at, &bytes)?;
        self.write_u32(index, at)?;
        self.write_u32(index + 1, len)
    }

    /// Calls back into the module for memory.
    fn allocate(&mut self, len: u32) -> Result<u32, Fault> {
        let Some(allocate) = self.state().allocate else {
            return Err(Fault::Status(status::INVALID_MEMORY_ACCESS));
        };
        let at = allocate
            .call(self.caller.as_context_mut(), len)
            .map_err(Fault::Trap)?;
        if at == 0 {
            return Err(Fault::Status(status::INVALID_MEMORY_ACCESS));
        }
        Ok(at)
    }

    fn memory(&mut self) -> Result<Memory, Fault> {
        if let Some(memory) = self.state().memory {
            return Ok(memory);
        }
        let memory = match self.caller.get_export("memory") {
            Some(Extern::Memory(memory)) => memory,
            _ => return Err(Fault::Status(status::INVALID_MEMORY_ACCESS)),
        };
        self.state().memory = Some(memory);
        Ok(memory)
    }
}
