//! Nothing but the tests and the program beside this file.
