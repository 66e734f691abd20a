//! The keys of logins, as cloud-init documents them: names, keys, passwords, the ssh server. What
//! they say never takes a login away that the configuration gives elsewhere.

use super::key::{Key, Type, key, old, taken};
use super::kinds::{ANY, BOOL, PATH, SECRET, STRING, STRINGS};
use super::range::Range;
use super::{cautions, facts};

/// 0 is root, and the last one stands for "no change" in chown(2).
const UID: Type = Type::Integer(Range::new(1, 4_294_967_294));
const IDS: Type = Type::List(&Type::Text(&facts::KEY_ID));

pub(super) const KEYS: &[Key] = &[
    key("ssh_authorized_keys", STRINGS, "public keys that may log in as rancher and docker")
        .warns(cautions::no_ssh_key),
    key(
        "ssh_import_id",
        IDS,
        "accounts whose public keys may log in as rancher and docker: `gh:NAME` of GitHub, \
         `lp:NAME` of Launchpad",
    ),
    key("ssh_pwauth", BOOL, "sshd accepts passwords too, of users that have one; default: false")
        .warns(cautions::ssh_passwords),
    key(
        "users",
        Type::List(&Type::Named(USER)),
        "additional users; `default` stands for rancher: its keys and password are those of \
         rancher",
    )
    .warns(cautions::no_way_in),
    key(
        "user",
        Type::Named(USER),
        "a user with the rights and keys of rancher: its name, or the keys of `users[]`; rancher \
         stays; without a name: rancher, as `default` of `users`",
    )
    .warns(cautions::root_as_user),
    key(
        "password",
        Type::Secret(&facts::PASSWORD),
        "password of `user` (without it: of rancher) on terminals: its hash (`openssl passwd -6`), \
         or clear text",
    )
    .warns(cautions::clear_text),
    key("chpasswd", Type::Keys(CHPASSWD), "passwords of users that exist"),
    key("ssh_keys", Type::Keys(HOST_KEYS), "host keys of sshd; `rancher.ssh.keys` wins"),
    taken("disable_root", ANY, "root never logs in over ssh; use sudo").warns(cautions::root_login),
    taken("disable_root_opts", ANY, "root never logs in over ssh"),
    taken("ssh_deletekeys", ANY, "no image has host keys; each machine makes its own, once"),
    taken("ssh_quiet_keygen", ANY, "keys are generated without output"),
    taken("ssh_genkeytypes", ANY, "ed25519 and ecdsa keys are generated"),
    taken("ssh", ANY, "the banner always shows the fingerprints of the host keys"),
    taken("no_ssh_fingerprints", ANY, "the banner always shows those of the host keys"),
    taken("ssh_fp_console_blacklist", ANY, "the banner shows the fingerprints of all host keys"),
    taken("ssh_key_console_blacklist", ANY, "host keys are not written to the console"),
    taken("authkey_hash", ANY, "fingerprints are SHA256"),
    taken("allow_public_ssh_keys", ANY, "the provider's keys always let in"),
    old("ssh_publish_hostkeys", ANY, "host keys are not sent to the provider"),
    old("groups", ANY, "list the groups of each user: `users[].groups`"),
];

pub(super) const USER: &[Key] = &[
    key("name", Type::Text(&facts::USER), "its name; an existing user of this name is changed"),
    key("gecos", STRING, "its full name; a colon becomes a blank"),
    key(
        "primary_group",
        STRING,
        "its primary group; default: a group with the user's name, also if it cannot be created",
    ),
    key(
        "groups",
        STRINGS,
        "additional groups, created if missing; `docker` is required for ssh and for Docker",
    ),
    key("uid", UID, "its user id; default: the next free one from 1200, also if it is taken"),
    key("homedir", PATH, "its home folder; default: /home/NAME"),
    key("no_create_home", BOOL, "create no home folder"),
    key("system", BOOL, "a user for a program: no home folder"),
    key("shell", PATH, "its shell; default: /bin/bash, also for a usual shell that is missing"),
    key("ssh_authorized_keys", STRINGS, "public keys that may log in as this user")
        .warns(cautions::no_ssh_key),
    key("ssh_import_id", IDS, "accounts whose public keys may log in: `gh:NAME`, `lp:NAME`"),
    key(
        "passwd",
        Type::Secret(&facts::PASSWORD_HASH),
        "hash of its password, as in /etc/shadow (`openssl passwd -6`); `*` and `!`: none",
    ),
    key("hashed_passwd", Type::Secret(&facts::PASSWORD_HASH), "the same as `passwd`"),
    key("plain_text_passwd", Type::Secret(&facts::PASSWORD), "its password; a hash is safer")
        .warns(cautions::clear_text),
    key("lock_passwd", BOOL, "no login by password; default: true unless a password is set"),
    key(
        "sudo",
        Type::BoolOr(&STRINGS),
        "sudoers lines without the user name, such as `ALL=(ALL) NOPASSWD:ALL`; false: none, also \
         for `user`",
    ),
    taken("no_user_group", ANY, "set `primary_group`"),
    taken("no_log_init", ANY, "there is no lastlog"),
    taken("create_groups", ANY, "missing groups are created"),
    old("ssh_redirect_user", ANY, "the user gets no key; log in as rancher"),
    old("inactive", ANY, "accounts do not expire: the console is recreated at each boot"),
    old("expiredate", ANY, "accounts do not expire: the console is recreated at each boot"),
    old("selinux_user", ANY, "there is no SELinux"),
    old("snapuser", ANY, "there is no snapd"),
    old("doas", ANY, "there is no doas; use `sudo`"),
];

const CHPASSWD: &[Key] = &[
    key(
        "list",
        Type::List(&SECRET),
        "lines `user:password`, or `user:hash`; one text with several lines is a list too",
    )
    .warns(cautions::password_lines),
    key("users", Type::List(&Type::Keys(PASSWORD_OF)), "the same, as mappings")
        .warns(cautions::random_password),
    key(
        "expire",
        BOOL,
        "passwords do not expire: each boot sets them again, and sshd would refuse keys too",
    )
    .warns(cautions::expiry),
];

const PASSWORD_OF: &[Key] = &[
    key("name", Type::Text(&facts::USER), "the user"),
    key("password", Type::Secret(&facts::PASSWORD), "its password, or the hash of it"),
    key("type", Type::Text(&facts::PASSWORD_TYPE), "`text` or `hash`; found by itself"),
];

const HOST_KEYS: &[Key] = &[
    key("rsa_private", SECRET, "the private RSA key"),
    key("ecdsa_private", SECRET, "the private ECDSA key"),
    key("ed25519_private", SECRET, "the private Ed25519 key"),
    taken("rsa_public", ANY, "made of the private key"),
    taken("ecdsa_public", ANY, "made of the private key"),
    taken("ed25519_public", ANY, "made of the private key"),
    old("rsa_certificate", ANY, "sshd is given no certificate"),
    old("ecdsa_certificate", ANY, "sshd is given no certificate"),
    old("ed25519_certificate", ANY, "sshd is given no certificate"),
    old("dsa_private", SECRET, "sshd has no DSA any more"),
    old("dsa_public", ANY, "sshd has no DSA any more"),
    old("dsa_certificate", ANY, "sshd has no DSA any more"),
];
