//! The names of Stash's gauges.

/// The two names of one gauge: `current` follows `stash_appscode_com_`, `legacy` follows `stash_`.
pub(super) struct Name {
    pub current: &'static str,
    pub legacy: &'static str,
    pub help: &'static str,
}

const fn name(current: &'static str, legacy: &'static str, help: &'static str) -> Name {
    Name { current, legacy, help }
}

pub(super) struct BackupNames {
    pub success: Name,
    pub duration: Name,
    pub targets: Name,
    pub last_success: Name,
    pub target_success: Name,
    pub target_hosts: Name,
    pub target_last_success: Name,
    pub host_success: Name,
    pub host_duration: Name,
    pub data_size: Name,
    pub data_uploaded: Name,
    pub data_processing_time: Name,
    pub files: Name,
    pub files_new: Name,
    pub files_modified: Name,
    pub files_unmodified: Name,
}

#[rustfmt::skip]
pub(super) const BACKUP: BackupNames = BackupNames {
    success: name("backupsession_success", "backup_session_success", "1 if the last backup session succeeded"),
    duration: name("backupsession_duration_seconds", "backup_session_duration_seconds", "Request to end of the session"),
    targets: name("backupsession_target_count_total", "backup_target_count_total", "Targets of the session"),
    last_success: name("backupsession_last_success_time_seconds", "backup_last_success_time_seconds", "Unix time of the last success"),
    target_success: name("backupsession_target_success", "backup_target_success", "1 if the target was backed up"),
    target_hosts: name("backupsession_target_host_count_total", "backup_target_host_count_total", "Hosts of the target"),
    target_last_success: name("backupsession_target_last_success_time_seconds", "backup_target_last_success_time_seconds", "Unix time of the target's last success"),
    host_success: name("backupsession_host_backup_success", "backup_host_backup_success", "1 if the host was backed up"),
    host_duration: name("backupsession_host_backup_duration_seconds", "backup_host_backup_duration_seconds", "Time the host's backup took"),
    data_size: name("backupsession_host_data_size_bytes", "backup_host_data_size_bytes", "Bytes of the dump"),
    data_uploaded: name("backupsession_host_data_uploaded_bytes", "backup_host_data_uploaded_bytes", "Bytes that were new to the repository"),
    data_processing_time: name("backupsession_host_data_processing_time_seconds", "backup_host_data_processing_time_seconds", "Time the dump took, in whole seconds"),
    files: name("backupsession_host_files_total", "backup_host_files_total", "Files of the snapshot"),
    files_new: name("backupsession_host_files_new", "backup_host_files_new", "Files that were new"),
    files_modified: name("backupsession_host_files_modified", "backup_host_files_modified", "Files that had changed"),
    files_unmodified: name("backupsession_host_files_unmodified", "backup_host_files_unmodified", "Files that had not changed"),
};

pub(super) struct RestoreNames {
    pub success: Name,
    pub duration: Name,
    pub targets: Name,
    pub target_success: Name,
    pub target_hosts: Name,
    pub host_success: Name,
    pub host_duration: Name,
}

#[rustfmt::skip]
pub(super) const RESTORE: RestoreNames = RestoreNames {
    success: name("restoresession_success", "restore_session_success", "1 if the restore session succeeded"),
    duration: name("restoresession_duration_seconds", "restore_session_duration_seconds", "Request to end of the session"),
    targets: name("restoresession_target_count_total", "restore_target_count_total", "Targets of the session"),
    target_success: name("restoresession_target_success", "restore_target_success", "1 if the target was restored"),
    target_hosts: name("restoresession_target_host_count_total", "restore_target_host_count_total", "Hosts of the target"),
    host_success: name("restoresession_host_restore_success", "restore_host_restore_success", "1 if the host was restored"),
    host_duration: name("restoresession_host_restore_duration_seconds", "restore_host_restore_duration_seconds", "Time the host's restore took"),
};

pub(super) struct RepositoryNames {
    pub integrity: Name,
    pub size: Name,
    pub snapshots: Name,
    pub cleaned: Name,
}

#[rustfmt::skip]
pub(super) const REPOSITORY: RepositoryNames = RepositoryNames {
    integrity: name("repository_integrity", "repository_integrity", "1 if the repository was sound after the last backup"),
    size: name("repository_size_bytes", "repository_size_bytes", "Size of the repository after the last backup"),
    snapshots: name("repository_snapshot_count", "repository_snapshot_count", "Snapshots in the repository"),
    cleaned: name("repository_snapshot_cleaned", "repository_snapshot_cleaned", "Snapshots that the last retention removed"),
};
