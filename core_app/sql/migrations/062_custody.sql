-- What channels confirmed to hold for us, apart from what is still on its way. Runs as biyi_owner.
insert into core.accounts (account, name_en, name_zh) values
    ('100201', 'Deposits in custody of channels', '银行存款——渠道存管');
