//! Arrays out of the `PyCapsule`s of Arrow's C interface.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use arrow_array::{ArrayRef, make_array};
use arrow_schema::{DataType, Field};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::fault::{Fault, Result};

const NAME: &CStr = c"arrow_array_stream";

/// Arrow's C stream, by its ABI. arrow-array's own reads streams of tables alone.
#[repr(C)]
#[derive(Debug)]
struct CStream {
    get_schema: Option<unsafe extern "C" fn(*mut Self, *mut FFI_ArrowSchema) -> c_int>,
    get_next: Option<unsafe extern "C" fn(*mut Self, *mut FFI_ArrowArray) -> c_int>,
    get_last_error: Option<unsafe extern "C" fn(*mut Self) -> *const c_char>,
    /// None: it was released, or moved away.
    release: Option<unsafe extern "C" fn(*mut Self)>,
    private_data: *mut c_void,
}

impl CStream {
    const EMPTY: Self = Self {
        get_schema: None,
        get_next: None,
        get_last_error: None,
        release: None,
        private_data: ptr::null_mut(),
    };
}

#[allow(unsafe_code)]
// SAFETY: nothing in it belongs to a thread, by the interface; `&mut` is needed to read it.
unsafe impl Send for CStream {}
#[allow(unsafe_code)]
// SAFETY: as above; nothing reads it by a shared reference.
unsafe impl Sync for CStream {}

impl Drop for CStream {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            #[allow(unsafe_code)]
            // SAFETY: it is not released yet, and nobody uses it any more.
            unsafe {
                release(&raw mut *self);
            };
        }
    }
}

/// The arrays of one stream, all of one type, in order.
#[derive(Debug)]
pub struct Stream {
    stream: CStream,
    field: Field,
}

impl Stream {
    /// Takes the stream out of what ``__arrow_c_stream__`` returned.
    ///
    /// # Errors
    /// It is no such capsule, its stream was taken before, or its producer fails.
    pub fn open(capsule: &Bound<'_, PyAny>) -> Result<Self> {
        let capsule = capsule
            .cast::<PyCapsule>()
            .map_err(|_| refused("__arrow_c_stream__ must return a PyCapsule"))?;
        let at = capsule
            .pointer_checked(Some(NAME))
            .map_err(|error| refused(&error.to_string()))?
            .cast::<CStream>();
        #[allow(unsafe_code)]
        // SAFETY: a capsule of this name holds an initialised ArrowArrayStream, by the PyCapsule
        // interface. It is moved out, which leaves a released one behind.
        let stream = unsafe { ptr::replace(at.as_ptr(), CStream::EMPTY) };
        if stream.release.is_none() {
            return Err(refused("this stream of Arrow's was read before"));
        }
        let mut made = Self {
            stream,
            field: Field::new("", DataType::Null, true),
        };
        let mut schema = FFI_ArrowSchema::empty();
        let get = made.stream.get_schema.ok_or_else(released)?;
        #[allow(unsafe_code)]
        // SAFETY: the stream is not released, and the schema is empty, as `get_schema` wants it.
        let status = unsafe { get(&raw mut made.stream, &raw mut schema) };
        made.checked(status)?;
        let read = Field::try_from(&schema);
        made.field = read.map_err(|error| refused(&error.to_string()))?;
        Ok(made)
    }

    /// The type of its arrays; of a table it is a struct of its columns.
    #[must_use]
    pub fn field(&self) -> &Field {
        &self.field
    }

    /// The next array; None after the last.
    ///
    /// # Errors
    /// The producer fails, or gives what is no array of the type.
    pub fn next_array(&mut self) -> Result<Option<ArrayRef>> {
        let mut array = FFI_ArrowArray::empty();
        let get = self.stream.get_next.ok_or_else(released)?;
        #[allow(unsafe_code)]
        // SAFETY: as in `open`.
        let status = unsafe { get(&raw mut self.stream, &raw mut array) };
        self.checked(status)?;
        if array.is_released() {
            return Ok(None);
        }
        #[allow(unsafe_code)]
        // SAFETY: the producer promises that its arrays are of the type of its stream.
        let data = unsafe { from_ffi_and_data_type(array, self.field.data_type().clone()) };
        let mut data = data.map_err(|error| refused(&error.to_string()))?;
        // C and C++ may align less strictly than Rust.
        data.align_buffers();
        Ok(Some(make_array(data)))
    }

    fn checked(&mut self, status: i32) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        let mut said = None;
        if let Some(get) = self.stream.get_last_error {
            #[allow(unsafe_code)]
            // SAFETY: the stream is not released; the text lives until its next call.
            let text = unsafe { get(&raw mut self.stream) };
            if !ptr::eq(text, ptr::null()) {
                #[allow(unsafe_code)]
                // SAFETY: it ends with a zero, by the interface.
                let text = unsafe { CStr::from_ptr(text) };
                said = Some(text.to_string_lossy().into_owned());
            }
        }
        let said = said.unwrap_or_else(|| format!("error {status}"));
        Err(refused(&format!("its producer failed: {said}")))
    }
}

fn refused(reason: &str) -> Fault {
    Fault::Refused(reason.to_owned())
}

fn released() -> Fault {
    refused("this stream of Arrow's was released")
}
