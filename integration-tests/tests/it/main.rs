//! One program of all black-box tests; each module is a behaviour.
