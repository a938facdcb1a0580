//! bcs-deploy
